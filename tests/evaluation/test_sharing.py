"""Noise samples shared out over processes: all of them, none twice, evenly."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.sharing import groups, joined, share
from robust_transfer.smoothing.counts import ClassCounts, Unit
from robust_transfer.smoothing.settings import BLOCK


@st.composite
def units(draw):
    sizes = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=1, max_size=12))
    return [Unit(p, 7 * p, BLOCK * start, BLOCK * (start + size)) for p, (start, size) in enumerate(sizes)]


def blocks(parts):
    return [
        (part.image, part.index, first) for part in parts for first in range(part.start, part.stop, BLOCK)
    ]


@given(units(), st.integers(1, 9))
def test_every_block_is_one_processs_and_all_have_as_many(work, number):
    shares = [share(work, rank, number) for rank in range(number)]
    assert [block for own in shares for block in blocks(own)] == blocks(work)
    loads = [len(blocks(own)) for own in shares]
    assert max(loads) - min(loads) <= 1


@given(units(), st.integers(100, 5000))
def test_groups_are_all_units_in_order_and_no_larger_than_they_must_be(work, most):
    found = list(groups(work, most))
    assert [unit for group in found for unit in group] == work
    assert all(len(group) == 1 or BLOCK * len(blocks(group)) <= most for group in found)


@given(units(), st.integers(1, 9), st.randoms(use_true_random=False))
def test_pieces_are_put_together_from_any_order(work, number, random):
    pieces = [
        (piece, ClassCounts(Counter({piece.image: len(blocks([piece]))}), near_ties=1))
        for rank in range(number)
        for piece in share(work, rank, number)
    ]
    random.shuffle(pieces)
    found = list(joined(work, pieces))
    assert [unit for unit, _ in found] == work
    assert all(counts.votes == {unit.image: len(blocks([unit]))} for unit, counts in found)
    assert sum(counts.near_ties for _, counts in found) == len(pieces)
    with pytest.raises(EvaluationError, match="did not draw the same samples"):
        list(joined(work, pieces[:-1]))
