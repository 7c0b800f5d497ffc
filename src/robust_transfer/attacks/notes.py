"""What is noted of single images, and the flags that the notes of a whole run give.

A flag that counts images is made of their notes, so that it is the same however a run is cut into parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Meaning(NamedTuple):
    """The flag of a note: written when more than a share of all images has it.

    text : with places for the number of images that have it, and of all
    """

    text: str
    above: float = 0.0


DARK, CONSTANT, OFFSET = "dark", "constant", "offset"
SATURATED, FLAT_LOSS, ZERO_GRADIENT, BLACK_BOX = "saturated", "flat_loss", "zero_gradient", "black_box"
# An attack without gradients that breaks more than this share hints at masked gradients: the check of
# AutoAttack's authors.
MAX_BLACK_BOX = 0.002
MEANINGS = {
    DARK: Meaning("images: the largest pixel of {} of {} is at most 2/255, as if divided by 255 twice", 0.5),
    CONSTANT: Meaning("images: {} of {} are constant"),
    OFFSET: Meaning(
        "offset: on {} of {} images a constant in the logits rounds away what decides near ties; take it out "
        "of the model",
        0.5,
    ),
    SATURATED: Meaning(
        "saturated: cross-entropy had no usable gradient on {} of {} images; they were attacked again by "
        "losses that no scale of the logits saturates"
    ),
    FLAT_LOSS: Meaning("flat_loss: the attacked loss had no usable gradient on {} of {} images"),
    ZERO_GRADIENT: Meaning("zero_gradient: {} of {} images have no gradient under any loss"),
    BLACK_BOX: Meaning(
        "black_box: Square broke {} of {} images that withstood every gradient attack", MAX_BLACK_BOX
    ),
}


def flags_of(notes: Sequence[str]) -> list[str]:
    """Return the flags that the notes of all images, words separated by spaces, give together."""
    counts = Counter(name for words in notes for name in words.split())
    return [
        meaning.text.format(counts[name], len(notes))
        for name, meaning in MEANINGS.items()
        if counts[name] > meaning.above * len(notes)
    ]
