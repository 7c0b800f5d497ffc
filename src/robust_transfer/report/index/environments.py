"""Versions and hardware behind runs, from their stages' env.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from robust_transfer.report.index.collect import Run, commits

ORIGIN = ("stages", "commit", "made_with")


def environment_of(run: Run) -> str:
    """Name torch, the device, the processor and its threads in one line; "unknown" where none is recorded."""
    environment = _read(run.path / "env.json")
    parts = [f"torch {v}" if (v := environment.get("torch")) else ""]
    device = run.summary.device
    parts += [device if device and device != "cpu" else ""]
    parts += [environment.get(name, "") for name in ("processor", "threads")]
    return ", ".join(part for part in parts if part) or "unknown"


def environments(runs: Iterable[Run]) -> list[str]:
    """Return what runs ran on, the most frequent first."""
    counted = Counter(environment_of(run) for run in runs)
    return sorted(counted, key=lambda name: (-counted[name], name))


def origin_of(runs: Sequence[Run]) -> tuple[str, str, str]:
    """Return the values of the `ORIGIN` columns of a CSV file."""
    keys = " ".join(dict.fromkeys(run.key for run in runs))
    return keys, " ".join(commits(runs)), "; ".join(environments(runs))


@lru_cache(maxsize=4096)
def _read(path: Path) -> dict[str, str]:
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        threads = environment.get("threads")
        return {
            "torch": str((environment.get("versions") or {}).get("torch") or ""),
            "processor": str(environment.get("processor") or ""),
            "threads": f"{threads} threads" if threads else "",
        }
    except (OSError, ValueError, AttributeError):
        return {}
