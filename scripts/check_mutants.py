"""Put known faults into a copy of the sources, one at a time, and see the tests fail that must notice them.

    python scripts/check_mutants.py                 all faults of scripts/mutants.toml
    python scripts/check_mutants.py --sample 5      a fixed sample, spread over the list
    python scripts/check_mutants.py --only restart  those whose name or file holds a word

A fault that no test notices is a survivor: exit 1, and its name. With --control the tests run once on the
unchanged copy first, where all must pass.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAILED = 1  # pytest's exit status where tests ran and some failed; others mean that they could not run


@dataclass(frozen=True)
class Fault:
    """A text in a file of the package, what stands in its place, and the tests that must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def put_into(self, package: Path) -> None:
        """Write the fault into a copy of the package."""
        path = package / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise SystemExit(
                f"'{self.name}': {self.old!r} stands {text.count(self.old)} times in {self.file}"
            )
        path.write_text(text.replace(self.old, self.new))


def faults() -> list[Fault]:
    """Read the list."""
    listed = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text())["fault"]
    return [Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in listed]


def sample(listed: Sequence[Fault], count: int) -> list[Fault]:
    """Pick a fixed sample, evenly from the list."""
    return [listed[i * len(listed) // count] for i in range(min(count, len(listed)))]


def run_tests(source: Path, tests: Sequence[str]) -> int:
    """Run tests on the package in `source`, in a process of their own; return pytest's exit status."""
    process = os.fork()  # not a new interpreter: importing torch costs more than most of the tests
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.chdir(ROOT)
        os.environ.update(PYTHONPATH=str(source), PYTHONDONTWRITEBYTECODE="1")
        sys.path.insert(0, str(source))
        sys.dont_write_bytecode = True
        status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-m", "not gpu", *tests])
    finally:
        os._exit(status)


def survives(fault: Fault | None, tests: Sequence[str]) -> int:
    """Run tests on a copy of the package with a fault in it; return pytest's exit status."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        (Path(directory) / "conf").symlink_to(ROOT / "conf")  # where a checkout's package looks for it
        if fault is not None:
            fault.put_into(source / "robust_transfer")
        return run_tests(source, tests)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the faults that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args(arguments)
    for heavy in ("torch", "scipy.stats", "pandas", "statsmodels.api"):
        importlib.import_module(heavy)
    chosen = [fault for fault in faults() if options.only in fault.name or options.only in fault.file]
    if options.sample:
        chosen = sample(chosen, options.sample)
    if options.control and survives(None, sorted({test for fault in chosen for test in fault.tests})):
        raise SystemExit("the tests fail without any fault")
    survivors = []
    for fault in chosen:
        status = survives(fault, fault.tests)
        if status not in (0, FAILED):
            raise SystemExit(f"'{fault.name}': the tests could not run (pytest's exit status {status})")
        print(f"{'noticed ' if status else 'SURVIVES'}  {fault.file}: {fault.name}", flush=True)
        survivors += [] if status else [fault]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults are noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
