"""What every benchmark writes with --json: comparisons, the machine, the command that measures them again."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from robust_transfer.core.files import write_json
from robust_transfer.store.provenance import git_commit

ROOT = Path(__file__).resolve().parents[1]
FEATURES = ("avx", "amx", "f16c")
# Paths of one machine say nothing on another.
LOCAL = ("--json", "--cache")


def compared(
    what: str,
    ours: str,
    peer: str,
    peer_cost: Sequence[float],
    our_cost: Sequence[float],
    *,
    bound: bool = False,
) -> dict[str, Any]:
    """Return how many times a peer's cost is ours: the median over rounds with its interval.

    bound : the peer is no other software, but the least that ours could cost, or ours in another setting
    """
    ratios = [theirs / mine for theirs, mine in zip(peer_cost, our_cost, strict=True)]
    low, high = median_interval(ratios)
    spread = {"ratio": statistics.median(ratios), "low": low, "high": high}
    return {"what": what, "ours": ours, "peer": peer, "bound": bound, **spread, "rounds": len(ratios)}


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % interval of the median, from ranks alone; the whole range of fewer than 9 values."""
    ordered, cut = sorted(values), 0
    number = len(ordered)
    # As many below the median as successes in fair coins: what is cut at both ends must be unlikely.
    while 2 * sum(math.comb(number, k) for k in range(cut + 2)) <= 0.05 * 2**number:
        cut += 1
    return ordered[cut], ordered[-1 - cut]


def machine(device: str = "cpu") -> str:
    """Name the processor with the features that matter here, and the versions."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}; {versions}"
    name, features = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        lines = {key.strip(): value.strip() for key, value in lines.items()}
        name = lines.get("model name", name)
        flags = sorted(f for f in lines.get("flags", "").split() if f.startswith(FEATURES))
        features = f" ({' '.join(flags)})"
    return f"{name}{features}; {versions}, one thread"


def command() -> str:
    """Return the command line of this process, without the options that name places of this machine."""
    words = [f"scripts/{Path(sys.argv[0]).name}"]
    given = iter(sys.argv[1:])
    for word in given:
        if word in LOCAL:
            next(given, None)
        elif Path(word).is_absolute():
            words.append("PATH")
        else:
            words.append(word)
    return f"python {shlex.join(words)}"


def save(path: Path, comparisons: Sequence[dict], *, device: str = "cpu", **details: Any) -> None:
    """Write one benchmark's file."""
    facts = {"command": command(), "machine": machine(device), "commit": git_commit()}
    facts["load"] = f"{os.getloadavg()[2]:.0f} on {os.cpu_count()} cores"
    write_json(path, {**facts, "comparisons": list(comparisons), **details})


def load(path: Path) -> dict[str, Any]:
    """Read one benchmark's file."""
    return json.loads(path.read_text(encoding="utf-8"))
