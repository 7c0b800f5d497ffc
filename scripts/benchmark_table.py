"""Print the table of benchmarks from the files that the benchmark scripts wrote.

    python scripts/benchmark_table.py            ours beside other software, for docs/benchmarks.md
    python scripts/benchmark_table.py --bounds   ours beside its bounds and its other settings

A ratio is the peer's cost over ours: above 1, ours is the cheaper one. It is the median over interleaved
rounds on one machine, with the least and the greatest round.
"""

from __future__ import annotations

import sys
from pathlib import Path

from measured import ROOT, load


def table(folder: Path, *, bounds: bool = False) -> str:
    """Return the Markdown of all files in a folder, with the machines and the commands under the table."""
    rows, sources = [], {}
    for path in sorted(folder.glob("cpu-*.json")):
        found = load(path)
        chosen = [row for row in found["comparisons"] if row["bound"] == bounds]
        if not chosen:
            continue
        number = len(sources) + 1
        sources[number] = (found["command"], found["machine"])
        for row in chosen:
            spread = f"{row['ratio']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
            rows.append(f"| {row['what']} | {row['ours']} | {row['peer']} | {spread} | {number} |")
    lines = ["| what | ours | beside | cost beside / ours [range] | run |", "| --- | --- | --- | --- | --- |"]
    lines += [*rows, ""]
    lines += [f"{number}. `{command}`" for number, (command, _) in sources.items()]
    machines = dict.fromkeys(machine for _, machine in sources.values())
    lines += ["", *(f"Machine: {machine}." for machine in machines)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(ROOT / "results" / "benchmarks", bounds="--bounds" in sys.argv), end="")
