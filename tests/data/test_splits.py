"""Stratified parts of a training set."""

from __future__ import annotations

from collections import Counter

import pytest

from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data.splits import check_shots, draw_fraction, draw_shots, hold_out

LABELS = [0] * 20 + [1] * 7 + [2] * 2 + [3]
NAMES = ["many", "some", "pair", "single"]


def counts(rows):
    return [Counter(LABELS[row] for row in rows)[label] for label in range(4)]


@pytest.mark.parametrize(
    ("fraction", "held"), [(0.1, [2, 1, 1, 0]), (0.5, [10, 4, 1, 0]), (0.99, [19, 6, 1, 0])]
)
def test_hold_out_takes_the_share_of_every_class_and_leaves_one(fraction, held):
    kept, out = hold_out(LABELS, fraction, seed=0)
    assert counts(out) == held
    assert sorted(kept + out) == list(range(len(LABELS)))


def test_hold_out_of_nothing():
    assert hold_out(LABELS, 0.0, seed=0) == (list(range(len(LABELS))), [])


def test_draws_are_keyed_by_the_seed():
    first, second = hold_out(LABELS, 0.3, seed=0)[1], hold_out(LABELS, 0.3, seed=1)[1]
    assert first == hold_out(LABELS, 0.3, seed=0)[1] != second


def test_a_class_is_drawn_alike_whatever_other_classes_there_are():
    alone = draw_shots(LABELS, range(20), 5, ["many"], seed=3)
    together = draw_shots(LABELS[:27], range(27), 5, NAMES[:2], seed=3)
    assert alone == [row for row in together if LABELS[row] == 0]


def test_fewer_shots_are_a_part_of_more():
    rows = range(27)
    draws = [set(draw_shots(LABELS, rows, k, NAMES[:2], seed=0)) for k in (1, 3, 7)]
    assert draws[0] < draws[1] < draws[2]
    assert [counts(draw)[:2] for draw in draws] == [[1, 1], [3, 3], [7, 7]]


def test_more_shots_than_the_smallest_class_name_it():
    with pytest.raises(DataError, match="class 'pair' has 2 training images"):
        draw_shots(LABELS, range(29), 3, NAMES[:3], seed=0)
    with pytest.raises(DataError, match="class 'single' has 0 training images"):
        draw_shots(LABELS, range(29), 1, NAMES, seed=0)


def test_shots_are_checked_against_what_validation_leaves():
    check_shots(LABELS[:27], NAMES[:2], 3, validation_fraction=0.5)
    with pytest.raises(DataError, match="class 'some' has 3 training images"):
        check_shots(LABELS[:27], NAMES[:2], 4, validation_fraction=0.5)
    assert counts(hold_out(LABELS[:27], 0.5, seed=0)[0])[1] == 3


def test_fraction_of_every_class_at_least_one():
    assert counts(draw_fraction(LABELS, range(30), 0.25, seed=0)) == [5, 2, 1, 1]
    assert draw_fraction(LABELS, range(30), 1.0, seed=0) == list(range(30))


@pytest.mark.parametrize(
    "call",
    [
        lambda: hold_out(LABELS, 1.0, seed=0),
        lambda: hold_out(LABELS, -0.1, seed=0),
        lambda: draw_fraction(LABELS, range(30), 0.0, seed=0),
        lambda: draw_shots(LABELS, range(30), 0, NAMES, seed=0),
    ],
)
def test_values_out_of_range_are_refused(call):
    with pytest.raises(ConfigError):
        call()
