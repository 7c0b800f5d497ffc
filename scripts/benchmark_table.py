"""Print the tables of benchmarks from the files that the benchmark scripts wrote.

    python scripts/benchmark_table.py            ours beside other software, for docs/benchmarks.md
    python scripts/benchmark_table.py --bounds   ours beside its bounds and its other settings
    python scripts/benchmark_table.py --growth   how the cost of commands grows
    python scripts/benchmark_table.py --gpu      attacks and certificates on GPUs, in wall time
    python scripts/benchmark_table.py --goals    what benchmark_goals.toml asks for, and whether it is reached
    python scripts/benchmark_table.py --write    all of them, into docs/benchmarks.md

A ratio is the peer's cost over ours: above 1, ours is the cheaper one. It is the median over interleaved
rounds on one machine, with the interval that `measured.compared` gives it.
"""

from __future__ import annotations

import re
import statistics
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measured import ROOT, load

PAGE = ROOT / "docs" / "benchmarks.md"
PATTERNS = ("what", "ours", "peer")
RESULTS = ROOT / "results" / "benchmarks"
GOALS = Path(__file__).with_name("benchmark_goals.toml")
NUM_IMAGES, SAMPLES = 500, 100_100  # of a published certification: each image's n0 and n


def table(folder: Path, *, bounds: bool = False, files: str = "cpu-*.json") -> str:
    """Return the Markdown of all files in a folder, with the machines and the commands under the table."""
    rows, sources = [], []
    for path in sorted(folder.glob(files)):
        found = load(path)
        chosen = [row for row in found["comparisons"] if row["bound"] == bounds]
        if not chosen:
            continue
        sources.append(found)
        for row in chosen:
            cells = (row["what"], row["ours"], row["peer"], _spread(row), row["rounds"], len(sources))
            rows.append(f"| {' | '.join(map(str, cells))} |")
    head = "| what | ours | beside | cost beside / ours [interval] | rounds | run |"
    return "\n".join([head, "|" + " --- |" * 6, *rows, *_sources(sources)]) + "\n"


def growth(folder: Path) -> str:
    """Return the Markdown of what commands cost by size."""
    sources = [load(path) for path in sorted(folder.glob("cpu-growth*.json"))]
    rows = [
        f"| {row['what']} | {row['size']} | {statistics.median(row['seconds']):.2f} | {number} |"
        for number, found in enumerate(sources, 1)
        for row in found["growth"]
    ]
    head = "| what | size | CPU seconds | run |"
    return "\n".join([head, "|" + " --- |" * 4, *rows, *_sources(sources)]) + "\n"


def gpu(folder: Path) -> str:
    """Return the Markdown of benchmark_gpu.py's files: rates, the hours that follow, comparisons."""
    files = "*-evaluation.json"
    rows = [
        f"| {row['what']} | {row['samples_per_second']:,.0f} | "
        f"{NUM_IMAGES * SAMPLES / row['samples_per_second'] / 3600:.2f} | {number} |"
        for number, path in enumerate(sorted(folder.glob(files)), 1)
        for row in load(path)["rows"]
        if "samples_per_second" in row
    ]
    head = f"| what | samples per second | hours of {NUM_IMAGES} images at n = 100,000, extrapolated | run |"
    return "\n".join([head, "|" + " --- |" * 4, *rows, "", *whole(folder), table(folder, files=files)])


def whole(folder: Path) -> list[str]:
    """Return the Markdown of benchmark_whole.py's files: whole certifications with what they answered."""
    sources = [load(path) for path in sorted(folder.glob("*-whole.json"))]
    rows = [
        f"| {row['what']} | {row['seconds']:.1f} | {row['samples']:,} | "
        f"{row['sa']:.1f} ({row['true_sa']:.1f}) | {row['ra']:.1f} ({row['true_ra']:.1f}) |"
        for source in sources
        for row in source["rows"]
    ]
    head = "| whole certifications, with the journal | seconds | samples | SA % (true) | RA % at 0.5 (true) |"
    return [head, "|" + " --- |" * 5, *rows, *_sources(sources), ""]


def goals(folder: Path) -> str:
    """Return the Markdown of every goal: the row that it is about, and whether the ratio is reached."""
    rows = [row for path in sorted(folder.glob("cpu-*.json")) for row in load(path)["comparisons"]]
    lines = ["| goal | asked | measured | reached |", "|" + " --- |" * 4]
    for goal in tomllib.loads(GOALS.read_text(encoding="utf-8"))["goal"]:
        found = [row for row in rows if all(re.search(goal[key], row[key]) for key in PATTERNS)]
        best = max(found, key=lambda row: row["ratio"], default=None)
        reached = "not measured" if best is None else "yes" if best["ratio"] >= goal["least"] else "no"
        if best is not None and best["ratio"] < goal["least"] <= best["high"]:
            reached = "no, but within the interval"
        why = f": {goal['why']}" if reached != "yes" and "why" in goal else ""
        measured = "-" if best is None else _spread(best)
        lines.append(f"| {goal['name']} | {goal['least']:g} | {measured} | {reached}{why} |")
    return "\n".join(lines) + "\n"


def _spread(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"


def _sources(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the commands that measured, numbered, and the machines that they ran on."""
    machines = list(dict.fromkeys(one["machine"] for one in found))
    commands = []
    for number, one in enumerate(found, 1):
        load_text = f", load {one['load']}" if "load" in one else ""
        place = f", machine {machines.index(one['machine']) + 1}" if len(machines) > 1 else ""
        commands.append(f"{number}. `{one['command']}` at commit {one['commit']}{load_text}{place}")
    if len(machines) == 1:
        return ["", *commands, "", f"Machine: {machines[0]}."]
    return ["", *commands, "", *(f"Machine {number}: {name}." for number, name in enumerate(machines, 1))]


TABLES = {
    "": table,
    " --bounds": lambda folder: table(folder, bounds=True),
    " --gpu": gpu,
    " --growth": growth,
    " --goals": goals,
}


def written(page: str, folder: Path) -> str:
    """Return the page with the tables as the files in `folder` give them now."""
    for option, make in TABLES.items():
        mark = f"<!-- python scripts/benchmark_table.py{option} -->\n"
        before, rest = page.split(mark)
        page = before + mark + make(folder) + rest[rest.index("<!-- end -->") :]
    return page


def main() -> None:
    """Print a table, or write all of them."""
    option = "".join(f" {word}" for word in sys.argv[1:])
    if option == " --write":
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    elif option in TABLES:
        print(TABLES[option](RESULTS), end="")
    else:
        raise SystemExit(f"expected one of{', '.join(TABLES)} --write (found{option})")


if __name__ == "__main__":
    main()
