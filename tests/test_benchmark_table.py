"""The tables of benchmarks are what the script makes of the files that the benchmarks wrote."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return lambda name: runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))


def test_the_page_shows_the_committed_measurements(script):
    found = script("benchmark_table")
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == found["written"](page, ROOT / "results" / "benchmarks")
    for part in page.split("<!-- python ")[1:]:
        assert part.count("\n| ") > 9


def test_a_ratio_is_the_median_of_the_rounds(script, monkeypatch, tmp_path):
    table = script("benchmark_table")["table"]
    measured = sys.modules.get("measured") or __import__("measured")
    monkeypatch.setattr(
        sys, "argv", ["/x/scripts/b.py", "--images", "3", "--cache", "/home/me", "--cohen", "/a/core.py"]
    )
    row = measured.compared("step", "ours", "theirs", [2.0, 9.0, 4.0], [1.0, 3.0, 1.0])
    measured.save(tmp_path / "cpu-b.json", [row])
    (tmp_path / "h200.json").write_text("{}")  # another format, of scripts/gpu_check.py
    text = table(tmp_path)
    assert "| step | ours | theirs | 3 [2, 4] | 3 | 1 |" in text
    assert "1. `python scripts/b.py --images 3 --cohen PATH` at commit" in text
    assert json.loads((tmp_path / "cpu-b.json").read_text())["machine"] in text


def test_an_interval_holds_the_median_19_times_in_20(script):
    interval = script("measured")["median_interval"]
    for number in range(2, 40):
        low, high = interval(list(range(number)))
        outside = 2 * binom.cdf(low, number, 0.5)
        assert low == number - 1 - high
        assert outside <= 0.05 or low == 0
        assert 2 * binom.cdf(low + 1, number, 0.5) > 0.05


def test_a_goal_is_reached_where_its_rows_ratio_is(script, monkeypatch, tmp_path):
    goals = script("benchmark_table")["goals"]
    asked = "[[goal]]\nname = {0!r}\nwhat = {0!r}\nours = ''\npeer = ''\nleast = 2\nwhy = 'slow'\n"
    (tmp_path / "goals.toml").write_text("".join(asked.format(name) for name in ("a", "b", "c", "d")))
    monkeypatch.setitem(goals.__globals__, "GOALS", tmp_path / "goals.toml")
    rows = [
        {"what": what, "ours": "", "peer": "", "ratio": ratio, "low": 1, "high": high}
        for what, ratio, high in (("a", 2.5, 3), ("b", 1.5, 1.9), ("d", 1.5, 2.5))
    ]
    (tmp_path / "cpu-x.json").write_text(json.dumps({"comparisons": rows}))
    *_, a, b, c, d = goals(tmp_path).splitlines()
    assert a == "| a | 2 | 2.5 [1, 3] | yes |"
    assert b == "| b | 2 | 1.5 [1, 1.9] | no: slow |"
    assert c == "| c | 2 | - | not measured: slow |"
    assert d == "| d | 2 | 1.5 [1, 2.5] | no, but within the interval: slow |"


def test_boundaries_are_those_of_a_search_through_all_counts(script, monkeypatch):
    boundaries = script("benchmark_samples")["boundaries"]
    looks = np.array([100, 300])
    monkeypatch.setitem(boundaries.__globals__, "SIZES", looks)
    a, b = np.array([[0.5], [97.0]]), np.array([[0.5], [5.0]])
    low, high = boundaries(a, b)
    weigh = boundaries.__globals__
    for prior in range(2):
        for look, samples in enumerate(looks):
            monkeypatch.setitem(weigh, "SIZES", samples)
            counts = np.arange(samples + 1)
            mixture = weigh["betaln"](counts + a[prior], samples - counts + b[prior]) - weigh["betaln"](
                a[prior], b[prior]
            )
            for radius, q in enumerate(weigh["probabilities"]()):
                evidence = mixture - weigh["log_likelihood"](counts, q) >= np.log(1000)
                middle = counts[~evidence]
                assert low[prior, look, radius] == middle[0] - 1
                assert high[prior, look, radius] == middle[-1] + 1
