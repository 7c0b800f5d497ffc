"""ImageNet: imagenet/train and imagenet/val, one folder a WordNet id."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.images import FileImages
from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.imagefolder import folder_listing
from robust_transfer.errors import DataError

FOLDER = "imagenet"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; torchvision's class wants the devkit or meta.bin beside it, which are not needed."""
    home = root / FOLDER
    part = "val" if split == "test" else "train"
    loose = next(home.glob("val/*.JPEG"), None) if part == "val" else None
    if loose is not None:
        raise DataError(
            f"{loose} lies loose in val/ (expected val/<wnid>/...)", "sort val/ into class folders"
        )
    listing = folder_listing(home, "train", part)
    paths = [f"{FOLDER}/{path}" for path in listing.paths]
    return listing._replace(paths=paths, read=FileImages(root, paths))
