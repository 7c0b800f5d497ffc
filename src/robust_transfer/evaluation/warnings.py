"""Warnings about a number: flags and unreadable images, kept per shard as they occur."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robust_transfer.core import files


class Warnings:
    """One shard's flags and unreadable images; written before the rows that they belong to."""

    def __init__(self, directory: Path, shard: int) -> None:
        self._path = directory / f"flags.{shard}.json"
        self.flags, self.unreadable = _read(self._path)

    def note(self, flags: Sequence[str] = (), unreadable: Sequence[int] = ()) -> None:
        """Add what this shard, interrupted runs included, has not recorded yet."""
        merged = list(dict.fromkeys([*self.flags, *flags])), sorted({*self.unreadable, *unreadable})
        if merged != (self.flags, self.unreadable):
            self.flags, self.unreadable = merged
            files.write_json(self._path, {"flags": self.flags, "unreadable": self.unreadable})


def all_warnings(directory: Path) -> tuple[list[str], list[int]]:
    """Return the flags and the unreadable images of all shards."""
    parts = [_read(path) for path in sorted(directory.glob("flags.*.json"))]
    flags = list(dict.fromkeys(flag for part in parts for flag in part[0]))
    return flags, sorted({index for part in parts for index in part[1]})


def _read(path: Path) -> tuple[list[str], list[int]]:
    stored = files.read_json(path) or {}
    return stored.get("flags", []), stored.get("unreadable", [])
