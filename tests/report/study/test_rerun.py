import csv
import json

import numpy as np
import pytest

from robust_transfer.cli.report import main
from robust_transfer.report.index.collect import collect
from robust_transfer.report.study.rerun import reruns, shared
from synthetic_store import add_attack


def stores(root, deviation, models=60, images=4000):
    """Make two stores of the same keys whose SA scatter about the same mean."""
    random = np.random.Generator(np.random.Philox(8))
    for name in ("here", "there"):
        for seed in range(models):
            right = round(images * (0.7 + deviation * random.standard_normal()))
            add_attack(root / name, "digits", right, right // 2, images, seed=seed)
    return root / "here", root / "there"


def test_the_reproduction_deviation_is_found_and_covered(tmp_path):
    first, second = stores(tmp_path, 0.02, models=40, images=500)
    [sa, ra] = reruns(shared(collect(first), collect(second)))
    assert (sa.metric, sa.evaluations) == ("sa", 40) and sa.low < 0.02 < sa.high
    assert sa.deviation == pytest.approx(0.02, rel=0.3) and ra.deviation == pytest.approx(0.01, rel=0.3)
    assert sa.seeds == pytest.approx(0.02, rel=0.3)  # here another machine is another seed
    changes = [a.metrics["sa"] - b.metrics["sa"] for a, b in shared(collect(first), collect(second))]
    assert sa.deviation == pytest.approx(np.sqrt(np.mean(np.square(changes)) / 2))


def test_the_command_says_what_both_ran_on(tmp_path, capsys):
    first, second = stores(tmp_path, 0.02, models=3, images=100)
    for store, torch in ((first, "2.14.1"), (second, "2.15.0")):
        for path in store.glob("eval/*"):
            (path / "env.json").write_text(json.dumps({"versions": {"torch": torch}, "processor": "x"}))
    out = tmp_path / "out"
    assert main(["compare", "--rerun", str(second), "--store", str(first), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert (
        "3 evaluations that ran twice" in text
        and "here: torch 2.14.1" in text
        and "there: torch 2.15.0" in text
    )
    rows = list(csv.DictReader((out / "rerun.csv").read_text().splitlines()))
    assert len(rows) == 6 and {row["made_with_there"] for row in rows} == {"torch 2.15.0, x"}
    assert all(float(row["difference"]) == float(row["here"]) - float(row["there"]) for row in rows)


def test_equal_runs_are_equal_and_strangers_are_refused(tmp_path, capsys):
    add_attack(tmp_path / "a", "digits", 60, 30)
    add_attack(tmp_path / "b", "digits", 60, 30)
    [sa, _] = reruns(shared(collect(tmp_path / "a"), collect(tmp_path / "b")))
    assert (sa.equal, sa.deviation, sa.images, sa.seeds) == (1, 0, 0, None)
    add_attack(tmp_path / "c", "digits", 60, 30, seed=5)
    assert main(["compare", "--rerun", str(tmp_path / "c"), "--store", str(tmp_path / "a")]) == 2
    assert "share no finished evaluation" in capsys.readouterr().err
