"""Append-only journals of an evaluation: what is done is never done again, what was torn is redone.

A journal is a CSV file with one header line `# {json}` that names what must not be mixed within a
stage (device kind, noise backend). Rows may stand in any order; a unit of work is counted once.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import EvaluationError

Row = tuple[int | float | str, ...]


def format_cell(value: int | float | str | bool) -> str:
    """Write a number in full precision (`repr`), a boolean as 1 or 0."""
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


class Journal:
    """One shard's journal, open for appending.

    Parameters
    ----------
    path : the file; its directory exists
    header : values that every shard and every restart of the stage must share
    columns : names of the columns
    sync_every : rows after which the file is forced to disk (a killed process loses nothing that was
        flushed; a power failure loses at most these rows)
    """

    def __init__(self, path: Path, *, header: dict[str, Any], columns: Sequence[str], sync_every: int = 256):
        self.columns = tuple(columns)
        self._sync_every = sync_every
        self._unsynced = 0
        if path.exists():
            _cut_torn_line(path)
        fresh = not path.exists() or path.stat().st_size == 0
        if not fresh:
            self.check_header(path, header, self.columns)
        self._stream = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115 - closed by close()
        if fresh:
            self._stream.write("# " + json.dumps(header, sort_keys=True) + "\n" + ",".join(columns) + "\n")
            self._flush()

    @staticmethod
    def check_header(path: Path, header: dict[str, Any], columns: Sequence[str]) -> None:
        """Refuse a journal that was begun with another header: rows of two kinds are not mixed."""
        written, written_columns, _ = _split(path)
        if not written_columns:
            return  # killed, or not yet written by another process, before its header was whole
        if tuple(written_columns) != tuple(columns):
            raise EvaluationError(f"{path} has other columns ({written_columns}, expected {list(columns)})")
        different = sorted(k for k in {*written, *header} if written.get(k) != header.get(k))
        if different:
            name = different[0]
            before, now = written.get(name), header.get(name)
            raise EvaluationError(
                f"{path} was begun with {name}={before!r}, this run has {name}={now!r}",
                "rows of two kinds are not mixed within one evaluation: run it where it was begun,",
                "or delete the directory to begin again",
            )

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows and hand them to the operating system before returning."""
        lines = [",".join(format_cell(cell) for cell in row) + "\n" for row in rows]
        self._stream.write("".join(lines))
        self._stream.flush()
        self._unsynced += len(lines)
        if self._unsynced >= self._sync_every:
            self._flush()

    def close(self) -> None:
        """Force the rows to disk and close the file."""
        self._flush()
        self._stream.close()

    def _flush(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._unsynced = 0

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return a journal's header and its whole rows; a last line without its newline is left out."""
    header, columns, lines = _split(path)
    rows = []
    for number, cells in enumerate(csv.reader(io.StringIO("".join(lines))), start=3):
        if len(cells) != len(columns):
            raise EvaluationError(
                f"{path} line {number} has {len(cells)} cells (expected {len(columns)})",
                "the file was changed by hand or by a disk fault; delete it to compute its rows again",
            )
        rows.append(dict(zip(columns, cells, strict=True)))
    return header, rows


def journals(directory: Path) -> list[Path]:
    """Return the journals of all shards of a stage, sorted."""
    return sorted(directory.glob("journal.*.csv"))


def _cut_torn_line(path: Path) -> None:
    """Drop what stands after the last newline: a write that a kill or a full disk cut short."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if content[:whole].count(b"\n") < 2:
        whole = 0  # the header itself was torn
    if whole != len(content):
        with open(path, "r+b") as stream:
            stream.truncate(whole)
            os.fsync(stream.fileno())


def _split(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    if len(lines) < 2:
        return {}, [], []
    try:
        header = json.loads(lines[0].removeprefix("# "))
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise EvaluationError(f"{path} is not a journal (its first line is not a header)")
    return header, lines[1].strip().split(","), lines[2:]
