"""The tables of benchmarks are what the script makes of the files that the benchmarks wrote."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return runpy.run_path(str(ROOT / "scripts" / "benchmark_table.py"))["table"]


@pytest.mark.parametrize(
    ("page", "options"), [("docs/benchmarks.md", ""), ("docs/benchmarks.md", " --bounds")]
)
def test_the_pages_show_the_committed_measurements(table, page, options):
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = text.split(f"<!-- python scripts/benchmark_table.py{options} -->\n")[1].split("<!-- end -->")[0]
    assert shown == table(ROOT / "results" / "benchmarks", bounds=bool(options))
    assert shown.count("\n| ") > 10 and "Machine: " in shown


def test_a_ratio_is_the_median_of_the_rounds(table, monkeypatch, tmp_path):
    measured = sys.modules.get("measured") or __import__("measured")
    monkeypatch.setattr(
        sys, "argv", ["/x/scripts/b.py", "--images", "3", "--cache", "/home/me", "--cohen", "/a/core.py"]
    )
    row = measured.compared("step", "ours", "theirs", [2.0, 9.0, 4.0], [1.0, 3.0, 1.0])
    measured.save(tmp_path / "cpu-b.json", [row])
    (tmp_path / "h200.json").write_text("{}")  # another format, of scripts/gpu_check.py
    text = table(tmp_path)
    assert "| step | ours | theirs | 3 [2, 4] | 1 |" in text
    assert "1. `python scripts/b.py --images 3 --cohen PATH`" in text
    assert json.loads((tmp_path / "cpu-b.json").read_text())["machine"] in text
