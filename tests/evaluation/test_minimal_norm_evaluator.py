"""Records, metrics and verification of the minimal-norm attack."""

import csv
import json

import pytest

from evaluation_jobs import SMALL, make_job, records, run
from robust_transfer.cli.evaluate import main as evaluate
from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from tiny_runs import tiny


def test_the_curve_is_made_of_the_records_distances(tmp_path, capsys):
    store = tmp_path / "runs"
    assert train(tiny("none", "st", store, "until=finetune", "finetune.max_steps=30")) == 0
    [stage] = (store / "finetune").iterdir()
    words = ["minimal_norm", f"checkpoint={stage}", "dataset=digits", f"store={store}", "runtime.device=cpu"]
    words += ["minimal_norm.subset=9", "minimal_norm.num_steps=5", "minimal_norm.num_targets=1"]
    assert evaluate([*words, "minimal_norm.eps=0.2", "minimal_norm.radii=[0.1,0.2]"]) == 0
    assert "minimal_norm" in capsys.readouterr().out
    [evaluation] = (store / "eval").iterdir()
    with open(evaluation / "records.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    distances = [float(row["distance"]) for row in rows]
    assert [row["correct"] == "0" for row in rows] == [distance == 0 for distance in distances]
    metrics = json.loads((evaluation / "summary.json").read_text())["metrics"]
    assert metrics["ra"] == sum(d > 0.2 for d in distances) / 9
    assert metrics["ra@0.1"] == sum(d > 0.1 for d in distances) / 9
    assert abs(metrics["area"] - sum(min(d, 0.2) for d in distances) / 9) < 1e-12
    assert any(0 < distance < 1.5 for distance in distances)
    assert any(distance > 0.2 for distance in distances)  # which the area cuts
    key = evaluation.name.rsplit("-", 1)[1]
    assert report(["verify", key, "--store", str(store), "--redraw", "3"]) == 0
    assert " 0 differ" in capsys.readouterr().out
    assert report(["show", key, "--store", str(store)]) == 0
    journal = evaluation / "journal.0.csv"
    text = journal.read_text()
    row = text.splitlines()[2].split(",")
    row[3] = str(1 - int(row[3]))
    journal.write_text(text.replace(text.splitlines()[2], ",".join(row)))
    assert report(["verify", key, "--store", str(store)]) != 0
    assert "robust" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_was_cut_gives_the_same_records(tmp_path, model_file, monkeypatch):
    small = {"subset": 12, "num_steps": 4, "num_targets": 1, "batch_size": 4, "shapes": "one", "eps": 0.2}
    monkeypatch.setitem(SMALL, "minimal_norm", small)
    whole, cut = (make_job("minimal_norm", tmp_path / name, model_file) for name in ("whole", "cut"))
    run(whole)
    run(cut)
    path = cut.directory / "journal.0.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    run(cut)
    assert records(cut) == records(whole)
