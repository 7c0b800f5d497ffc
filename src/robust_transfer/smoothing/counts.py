"""Which noise samples are drawn, and how many votes of them each class has; torch-free."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from robust_transfer.smoothing.settings import BLOCK


@dataclass(frozen=True)
class Unit:
    """Noise samples start..stop-1 of one image; both are multiples of 100.

    image : position in the images that are handed over
    index : position in the full, sorted test set, which keys the noise
    """

    image: int
    index: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        assert self.start % BLOCK == 0 == self.stop % BLOCK and 0 <= self.start < self.stop, self


@dataclass(frozen=True)
class ClassCounts:
    """Votes of some samples; equal however the samples were packed into batches, up to `near_ties`.

    votes : votes of each class that has any; a tied or non-finite sample votes for none
    ties : samples whose two largest logits are equal
    near_ties : samples whose two largest logits rounding may swap (see `NEAR_TIES`), ties among them
    nonfinite : samples with a NaN or infinite logit, but for classes masked by -inf
    num_classes : classes of the model, 0 where unknown
    """

    votes: Counter[int] = field(default_factory=Counter)
    ties: int = 0
    near_ties: int = 0
    nonfinite: int = 0
    num_classes: int = field(default=0, compare=False)

    @property
    def top(self) -> int:
        """The class with the most votes, the first of several; -1 where no sample voted."""
        voted = +self.votes
        return min(voted, key=lambda name: (-voted[name], name), default=-1)

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Add the counts of other samples."""
        return ClassCounts(
            self.votes + other.votes,
            self.ties + other.ties,
            self.near_ties + other.near_ties,
            self.nonfinite + other.nonfinite,
            max(self.num_classes, other.num_classes),
        )
