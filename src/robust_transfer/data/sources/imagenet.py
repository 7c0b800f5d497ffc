"""ImageNet: imagenet/train and imagenet/val, one folder a WordNet id."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.images import FileImages
from robust_transfer.data.listing import Listing, read_lines
from robust_transfer.data.sources.imagefolder import folder_listing
from robust_transfer.data.sources.matlab import read_mat

FOLDER = "imagenet"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; torchvision's class wants the devkit or meta.bin beside it, which are not needed."""
    home = root / FOLDER
    part = "val" if split == "test" else "train"
    loose = next(home.glob("val/*.JPEG"), None) if part == "val" else None
    if loose is not None:
        raise DataError(
            f"{loose} lies loose in val/ (expected val/<wnid>/...)", "rt-data fetch imagenet sorts them"
        )
    listing = folder_listing(home, "train", part)
    paths = [f"{FOLDER}/{path}" for path in listing.paths]
    return listing._replace(paths=paths, read=FileImages(root, paths))


def sort_validation(root: Path) -> None:
    """Move the images that lie loose in val/ into class folders, as the devkit says."""
    home = root / FOLDER
    devkit = home / "ILSVRC2012_devkit_t12" / "data"
    synsets = read_mat(devkit / "meta.mat", "synsets")
    wnid_of = {
        int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets if int(one["num_children"]) == 0
    }
    truth = read_lines(devkit / "ILSVRC2012_validation_ground_truth.txt", "the list of validation labels")
    for number, class_id in enumerate(truth, 1):
        file = home / "val" / f"ILSVRC2012_val_{number:08d}.JPEG"
        if file.is_file():
            folder = home / "val" / wnid_of[int(class_id)]
            folder.mkdir(exist_ok=True)
            file.rename(folder / file.name)
