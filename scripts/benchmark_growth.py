"""How the cost of commands grows: plans with jobs and images; index, table and page with evaluations.

    python scripts/benchmark_growth.py [--rounds 5] [--only plan,index] [--json FILE]

CPU seconds of whole commands, imports among them; of the index, of the call alone. Stores are synthetic: what
evaluations of the natural study would have written, without any model.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measured import ROOT, save

from robust_transfer.report.index.collect import collect

sys.path.insert(0, str(ROOT / "tests"))
from support import synthetic_store

SWEEP = ("experiment=all12", "pretrain=at,cr,simclr", "finetune=cr")
SWEEPS = {3: ("dataset=pets",), 36: (), 180: ("seed=0,1,2,3,4",)}
SETS = ("digits", "pets3", "faces", "flowers", "cars", "dtd", "pets", "aircraft")
STORES = {"a set, a seed": (1, 1), "3 sets, 3 seeds": (3, 3), "8 sets, 4 seeds": (8, 4)}
NUM_INDEXED = (100, 1000, 10_000)
NUM_IMAGES, NUM_CLASSES = (1000, 10_000, 100_000), 50
COMMANDS = ("rt-train", "rt-eval", "rt-data", "rt-report")


def cpu_seconds(*words: str) -> float:
    """Run a command of ours to its end, and return the CPU time that it took."""
    with tempfile.TemporaryDirectory() as empty:
        work = subprocess.Popen(
            [sys.executable, "-m", "robust_transfer", *words], cwd=empty, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert work.stderr is not None
        said = work.stderr.read()
        _, status, usage = os.wait4(work.pid, 0)
    # A plan without data exits 2, which it says of the data sets.
    if os.waitstatus_to_exitcode(status) not in (0, 2) or b"error" in said:
        raise SystemExit(f"{' '.join(words)} failed: {said.decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def store(folder: Path, num_sets: int, num_seeds: int) -> tuple[Path, int]:
    """Write a store of the natural study; return it and the number of its evaluations."""
    synthetic_store.natural(folder, seeds=range(num_seeds), datasets=SETS[:num_sets])
    return folder, len(list((folder / "eval").iterdir()))


def copied(folder: Path, source: Path, number: int) -> Path:
    """Write so many evaluations, each one of `source` under another key."""
    originals = sorted((source / "eval").iterdir())
    for i in range(number):
        original = originals[i % len(originals)]
        target = folder / "eval" / f"{original.name.rsplit('-', 1)[0]}-{i:012x}"
        target.mkdir(parents=True)
        for name in ("status.json", "summary.json"):
            shutil.copy(original / name, target / name)
    return folder


def class_folders(folder: Path, number: int) -> Path:
    """Write class folders with so many image files in all, half of them to test; a plan opens none."""
    for split in ("train", "test"):
        for index in range(NUM_CLASSES):
            inner = folder / split / f"class{index}"
            inner.mkdir(parents=True)
            for image in range(number // 2 // NUM_CLASSES):
                (inner / f"{image}.png").touch()
    return folder


def indexing(folder: Path) -> Callable[[], float]:
    def seconds() -> float:
        begun = time.process_time()
        collect(folder)
        return time.process_time() - begun

    return seconds


def works(scratch: Path, chosen: list[str]) -> Iterator[tuple[str, str, Callable[[], float]]]:
    """Yield what is measured, its size, and the work, which tells its CPU seconds."""
    if "help" in chosen:
        for name in COMMANDS:
            yield f"help of {name}", "-", lambda name=name: cpu_seconds(name, "--help")
    if "plan" in chosen:
        for jobs, words in SWEEPS.items():
            text = "plan of a sweep, 12 sets x 3 methods x 5 seeds at most"
            yield (
                text,
                f"{jobs} jobs",
                lambda words=words: cpu_seconds(
                    "rt-train", *SWEEP, *words, f"store={scratch / 'none'}", "--plan"
                ),
            )
    if "images" in chosen:
        for number in NUM_IMAGES:
            root = class_folders(scratch / f"images-{number}", number)
            words = ("dataset=imagefolder", f"dataset.root={root}", f"store={scratch / 'none'}", "--plan")
            yield (
                "plan of a run on class folders",
                f"{number:,} images",
                lambda words=words: cpu_seconds("rt-train", "pretrain=none", "finetune=at", *words),
            )
    if "index" in chosen:
        source, _ = store(scratch / "source", 1, 1)
        for number in NUM_INDEXED:
            folder = copied(scratch / f"copied-{number}", source, number)
            yield "index of a store", f"{number:,} evaluations", indexing(folder)
    for name, text, words in (
        ("table", "table of the natural study", ("table", "natural2")),
        ("page", "html page", ("html",)),
    ):
        for label, (num_sets, num_seeds) in STORES.items() if name in chosen else ():
            folder, number = store(scratch / f"{name}-{num_sets}-{num_seeds}", num_sets, num_seeds)
            yield (
                text,
                f"{number:,} evaluations ({label})",
                lambda folder=folder, words=words: cpu_seconds(
                    "rt-report", *words, "--store", str(folder), "--out", str(scratch / "out")
                ),
            )


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="help,plan,images,index,table,page")
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        # Large folders are listed in the first round, and read from here in the others.
        os.environ["RT_CACHE"] = scratch
        for what, size, work in works(Path(scratch), options.only.split(",")):
            seconds = [work() for _ in range(options.rounds)]
            rows.append({"what": what, "size": size, "seconds": seconds})
            print(f"{what} | {size} | {statistics.median(seconds):.2f} s", flush=True)
            if options.json:
                save(options.json, [], growth=rows)


if __name__ == "__main__":
    main()
