"""The published tables as printed: the numbers of images that their decimals allow, and their power.

References
----------
Brown and Heathers 2017 (GRIM): a printed share of n images must be a multiple of 1/n, rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from robust_transfer.core.statistics import Z80, Z95
from robust_transfer.data import catalogue
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.study.claims import CERTIFIED_IMAGES as STATED
from robust_transfer.report.study.claims import images_published

RANGE = range(450, 601)
HALF = 0.0005  # half of the last printed digit, as a share


def possible(share: float, n: int) -> bool:
    """Tell whether a share that is printed in percent with one decimal can be that of n images."""
    return any(abs(k / n - share) <= HALF + 1e-9 for k in (math.floor(share * n), math.ceil(share * n)))


@dataclass(frozen=True)
class Granularity:
    """What the decimals of one set of Table 3 allow.

    impossible : cells that no number of `STATED` images gives
    fitting : numbers of images that give all cells
    rule : images if N // (N // 500) of the N test images are certified
    """

    dataset: str
    cells: int
    impossible: int
    fitting: tuple[int, ...]
    rule: int

    @property
    def fits_stated(self) -> bool:
        """Whether all cells fit the stated number."""
        return STATED in self.fitting

    @property
    def fits_rule(self) -> bool:
        """Whether all cells fit the rule."""
        return self.rule in self.fitting

    @property
    def text(self) -> str:
        """The fitting numbers, the first ones where they are many."""
        shown = ", ".join(map(str, self.fitting[:5]))
        return f"{shown} and {len(self.fitting) - 5} more" if len(self.fitting) > 5 else shown or "none"


def granularity() -> list[Granularity]:
    """Return what the accuracies of Table 3 allow, set by set."""
    by_set: dict[str, list[float]] = {}
    for cell, metrics in published.results()["3"].items():
        by_set.setdefault(cell.dataset, []).extend(metrics[metric] for metric in ("sa", "ra"))
    sets = []
    for dataset, shares in by_set.items():
        fitting = tuple(n for n in RANGE if all(possible(share, n) for share in shares))
        impossible = sum(not possible(share, STATED) for share in shares)
        whole = catalogue.get(dataset).test or STATED
        step = max(1, whole // STATED)
        sets.append(Granularity(dataset, len(shares), impossible, fitting, whole // step))
    return sets


@dataclass(frozen=True)
class Resolution:
    """A published change against no pre-training, and what its number of images can show, as shares.

    half_width : of the 95 % interval; smallest : change that is shown with a power of 80 %
    """

    table: str
    cell: Cell
    metric: str
    images: int
    change: float
    half_width: float
    smallest: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.change) > self.half_width


def resolutions() -> list[Resolution]:
    """Return every published change in SA and RA against no pre-training."""
    cells_published = published.all_cells()
    changes = []
    for table, cells in published.results().items():
        for cell, metrics in cells.items():
            reference = cells_published.get(cell.reference)
            if cell.pretrain == "none" or reference is None:
                continue
            n = images_published(cell)
            for metric in ("sa", "ra"):
                one, other = metrics[metric], reference[metric]
                error = math.sqrt((one * (1 - one) + other * (1 - other)) / n)
                changes.append(
                    Resolution(table, cell, metric, n, one - other, Z95 * error, (Z95 + Z80) * error)
                )
    return changes
