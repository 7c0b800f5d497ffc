"""Sets whose splits are MATLAB files: Stanford Cars, Flowers-102."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, listed_files

FLOWER_NAMES = """
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon
orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle,
yellow iris, globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire
lily, pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers,
stemless gentian, artichoke, sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine
sea holly, ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy,
daffodil, sword lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common
dandelion, petunia, wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange
dahlia, pink-yellow dahlia?, cautleya spicata, japanese anemone, black-eyed susan, silverbush, californian
poppy, osteospermum, spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose,
thorn apple, morning glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus,
columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball
moss, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper,
blackberry lily
"""


def cars(home: Path, split: str) -> Listing:
    """List Stanford Cars by the devkit; the test labels are a file of their own. Class ids start at 1."""
    if split == "test":
        annotations = read_mat(home / "cars_test_annos_withlabels.mat", "annotations")
    else:
        annotations = read_mat(home / "devkit" / "cars_train_annos.mat", "annotations")
    names = [str(name) for name in read_mat(home / "devkit" / "cars_meta.mat", "class_names")]
    images = f"cars_{split}"
    # int() before the subtraction: the file keeps the ids as uint8.
    items = [(f"{images}/{row['fname']}", int(row["class"]) - 1) for row in annotations]
    return listed_files(home, images, names, items)


def flowers102(home: Path, split: str) -> Listing:
    """List Flowers-102: train + val train, and the test part is the large one (often swapped)."""
    labels = read_mat(home / "imagelabels.mat", "labels")
    parts = ["tstid"] if split == "test" else ["trnid", "valid"]
    numbers = [int(number) for part in parts for number in read_mat(home / "setid.mat", part)]
    items = [(f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers]
    return listed_files(home, "jpg", " ".join(FLOWER_NAMES.split()).split(", "), items)


def read_mat(path: Path, variable: str) -> Any:
    """Return one variable of a .mat file as an array of one dimension."""
    import numpy as np
    from scipy.io import loadmat  # half a second to import, needed for two sets

    if not path.is_file():
        raise DataError(f"{path} is missing")
    try:
        return np.atleast_1d(loadmat(str(path), squeeze_me=True)[variable])
    except Exception as error:
        raise DataError(f"{path} cannot be read as the .mat file with '{variable}' ({error})") from error
