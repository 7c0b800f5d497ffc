"""Parts of a training set, stratified: held-out validation, shots, fractions. Keyed by (seed, class)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from robust_transfer.core.errors import ConfigError, DataError


def _shuffled_classes(
    labels: Sequence[int], rows: Sequence[int], seed: int, purpose: str
) -> dict[int, list[int]]:
    """Return class -> its rows in a keyed order: a longer draw holds the shorter one."""
    import torch  # here, so that a plan checks shots against class sizes without it

    from robust_transfer.core import rng

    by_class: dict[int, list[int]] = {}
    for row in rows:
        by_class.setdefault(labels[row], []).append(row)
    return {
        label: [
            of_class[i] for i in torch.randperm(len(of_class), generator=rng.generator(seed, purpose, label))
        ]
        for label, of_class in by_class.items()
    }


def _share(size: int, fraction: float) -> int:
    """Round a share of one class, at least one image."""
    return max(1, round(size * fraction))


def _held_out_size(size: int, fraction: float) -> int:
    return min(_share(size, fraction), size - 1) if fraction else 0


def check_shots(
    labels: Sequence[int], class_names: Sequence[str], shots: int, validation_fraction: float = 0.0
) -> None:
    """Refuse more shots than the smallest class has training images; the error names the class."""
    sizes = Counter(labels)
    available = {
        label: sizes[label] - _held_out_size(sizes[label], validation_fraction)
        for label in range(len(class_names))
    }
    label = min(available, key=available.__getitem__)
    if shots > available[label]:
        raise DataError(
            f"shots={shots}, but class '{class_names[label]}' has {available[label]} training images",
            f"shots={available[label]} or fewer"
            if available[label]
            else "train_fraction=... draws from uneven classes",
        )


def hold_out(labels: Sequence[int], fraction: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Cut rows into (training, held out): `fraction` of every class, at least one image on each side.

    A class of one image stays in training.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"validation_fraction={fraction} (expected 0 <= value < 1)")
    if fraction == 0:
        return list(range(len(labels))), []
    held: set[int] = set()
    for rows in _shuffled_classes(labels, range(len(labels)), seed, "validation").values():
        held.update(rows[: _held_out_size(len(rows), fraction)])
    return [row for row in range(len(labels)) if row not in held], sorted(held)


def draw_shots(
    labels: Sequence[int], rows: Sequence[int], shots: int, class_names: Sequence[str], *, seed: int
) -> list[int]:
    """Draw `shots` rows of every class. A class with fewer images is a DataError that names it."""
    if shots < 1:
        raise ConfigError(f"shots={shots} (expected at least 1)")
    check_shots([labels[row] for row in rows], class_names, shots)
    classes = _shuffled_classes(labels, rows, seed, "train subset").values()
    return sorted(row for of_class in classes for row in of_class[:shots])


def draw_fraction(labels: Sequence[int], rows: Sequence[int], fraction: float, *, seed: int) -> list[int]:
    """Draw a share of every class, rounded, at least one image."""
    if not 0 < fraction <= 1:
        raise ConfigError(f"train_fraction={fraction} (expected 0 < value <= 1)")
    classes = _shuffled_classes(labels, rows, seed, "train subset").values()
    return sorted(row for of_class in classes for row in of_class[: _share(len(of_class), fraction)])
