import csv

import pytest

import robust_transfer.report
from robust_transfer.core.errors import EvaluationError
from synthetic_store import add_attack, add_certificates


def test_runs_and_records_are_those_of_the_files(tmp_path):
    add_attack(tmp_path, "digits", 60, 30, pretrain="at", pretrain_seed=3, seed=1, split_seed=2, shots=5)
    certified = add_certificates(tmp_path, "digits", [900] * 7 + [None] * 3, marks=["sigma mismatch"])
    add_attack(tmp_path, "digits", 60, 30, marks=["smoke"])
    frames = robust_transfer.report.load(tmp_path)
    runs = frames.runs.set_index("evaluator", append=True).swaplevel()
    attack = runs.loc["autopgd"].iloc[0]
    assert (attack.sa, attack.ra, attack.shots) == (0.6, 0.3, 5)
    assert (attack.pretraining_seed, attack.finetuning_seed, attack.labels_drawn_seed) == (3, 1, 2)
    assert attack.ra_low < 0.3 < attack.ra_high and len(frames.runs) == 2
    assert runs.loc["certify"].iloc[0].marks == ("sigma mismatch",)
    key = certified.name.rsplit("-", 1)[1]
    ours = frames.records.loc[key]
    with open(certified / "records.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert ours.radius.tolist() == [float(row["radius"]) for row in rows]
    assert frames.records.groupby("key").correct.mean()[key] == 0.7


def test_an_empty_store_has_empty_frames(tmp_path):
    frames = robust_transfer.report.load(tmp_path)
    assert frames.runs.empty and frames.records.empty


def test_a_missing_records_file_is_named(tmp_path):
    path = add_attack(tmp_path, "digits", 6, 3, 10) / "records.csv"
    path.unlink()
    with pytest.raises(EvaluationError, match=r"records\.csv is missing"):
        _ = robust_transfer.report.load(tmp_path).records
