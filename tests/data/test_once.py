"""A command lists each split once; outside of one, every call sees the folder as it is."""

import pytest

from robust_transfer.data import catalogue, open_dataset
from robust_transfer.data.once import once, reading_once


@pytest.fixture
def listed(monkeypatch):
    """Return the splits that were listed, in order."""
    splits, list_split = [], catalogue.list_split

    def recorded(entry, root, split, partition=None):
        splits.append(split)
        return list_split(entry, root, split, partition)

    monkeypatch.setattr(catalogue, "list_split", recorded)
    return splits


def read_all():
    """Read as a run does: its check, the training part, the part held out, the test set."""
    assert catalogue.missing("digits", "data", "train") is None
    opened = [
        open_dataset("digits", "data", split, validation_fraction=0.1)
        for split in ("train", "validation", "test")
    ]
    return [dataset.fingerprint() for dataset in opened]


def test_a_split_is_listed_once_within_the_block_and_anew_outside(listed):
    outside = read_all()
    assert listed == ["train", "train", "train", "test"]
    listed.clear()
    with reading_once():
        assert read_all() == outside
        with reading_once():  # of the commands that a command calls
            assert read_all() == outside
    assert listed == ["train", "test"]
    assert read_all() == outside and len(listed) == 6


def test_a_change_is_seen_after_the_block_and_few_answers_are_kept():
    calls = []

    def double(number):
        calls.append(number)
        return 2 * number

    with reading_once():
        for number in (1, 2, 1, 3, 1):
            assert once(double, keep=1)(number) == 2 * number
    assert once(double, keep=1)(1) == 2 and calls == [1, 2, 1, 3, 1, 1]
