"""Flowers-102: train + val train, and the test part is the big one (people swap them)."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, file_listing, require_files
from robust_transfer.data.sources.matlab import read_mat

FOLDER = "flowers-102"
CLASS_NAMES = """
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


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; image numbers and class ids of the files start at 1."""
    labels = read_mat(root / FOLDER / "imagelabels.mat", "labels")
    parts = ["tstid"] if split == "test" else ["trnid", "valid"]
    numbers = [int(number) for part in parts for number in read_mat(root / FOLDER / "setid.mat", part)]
    items = [(f"{FOLDER}/jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers]
    require_files(root, f"{FOLDER}/jpg", [path for path, _ in items])
    return file_listing(root, " ".join(CLASS_NAMES.split()).split(", "), items)
