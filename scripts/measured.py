"""What benchmarks share: clocks, interleaved rounds, a published loop, and what --json writes."""

from __future__ import annotations

import importlib.util
import json
import math
import multiprocessing
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import scipy.stats
import torch

from robust_transfer.core.files import write_json
from robust_transfer.store.provenance import git_commit

ROOT = Path(__file__).resolve().parents[1]
FEATURES = ("avx", "amx", "f16c")
# Paths of one machine say nothing on another.
LOCAL = ("--json", "--cache")


def clock(device: str) -> Callable[[], float]:
    """Return the time that counts: the process's on a CPU, on a GPU the wall's, its work finished."""
    if device == "cpu":
        return time.process_time

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised


def interleaved(
    works: Mapping[str, Callable[[], object]], rounds: int, *, device: str = "cpu", processes: int = 1
) -> dict[str, list[float]]:
    """Run every piece of work once to warm up, then `rounds` times in turn; return the seconds of each.

    processes : that share the rounds, warmed up before (`rounds_of`); on a CPU only
    """
    for work in works.values():
        work()
    now = clock(device)

    def run(number: int) -> dict[str, float]:
        seconds = {}
        # From alternate ends, so that none always follows the same neighbour.
        for name in sorted(works, reverse=bool(number % 2)):
            started = now()
            works[name]()
            seconds[name] = now() - started
        return seconds

    found = list(rounds_of(run, rounds, processes=processes))
    return {name: [seconds[name] for seconds in found] for name in works}


def rounds_of(work: Callable[[int], Any], rounds: int, *, processes: int = 1) -> Iterator[Any]:
    """Yield what `work` returns for the number of each round; several processes may share the rounds.

    They are forks: what was built and compiled before is theirs too. Each round is one process's alone.
    """
    if processes == 1:
        yield from map(work, range(rounds))
        return
    global _forked
    _forked = work  # a function that sees local variables cannot be pickled, but is inherited
    with multiprocessing.get_context("fork").Pool(min(processes, rounds)) as pool:
        yield from pool.imap(_run_forked, range(rounds), chunksize=1)


_forked: Callable[[int], Any] | None = None


def _run_forked(number: int) -> Any:
    return _forked(number)


@contextmanager
def published_loop(path: Path, device: str = "cpu") -> Iterator[ModuleType]:
    """Import Cohen et al.'s core.py and let it run here: torch and SciPy are as before when this ends."""
    randn_like, had_test = torch.randn_like, hasattr(scipy.stats, "binom_test")
    try:
        if not had_test:
            scipy.stats.binom_test = lambda k, n, p: scipy.stats.binomtest(int(k), int(n), p).pvalue
        if device == "cpu":
            torch.randn_like = lambda batch, device=None: randn_like(batch)
        spec = importlib.util.spec_from_file_location("cohen_core", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        torch.randn_like = randn_like
        if not had_test:
            del scipy.stats.binom_test


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
