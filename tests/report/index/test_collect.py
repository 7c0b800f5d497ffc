import json
import time

import pytest

from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import collect, commits
from robust_transfer.store.records import Status
from synthetic_store import add_attack, add_certificates


def test_runs_smoke_and_unfinished_are_told_apart(tmp_path):
    add_attack(tmp_path, "pets", 5, 3, 10)
    add_certificates(tmp_path, "digits", [900] * 5, pretrain="cr")
    add_attack(tmp_path, "pets", 5, 3, 10, marks=["smoke"])
    add_attack(tmp_path, "pets", 5, 3, 10, state="running", tag="r")
    torn = add_attack(tmp_path, "pets", 5, 3, 10, tag="t")
    (torn / "summary.json").write_text('{"evaluator": "auto')
    index = collect(tmp_path)
    assert (len(index.runs), len(index.smoke), len(index.unfinished)) == (2, 1, 2)
    assert index.by_cell.keys() == {
        Cell("pets", "none", "at", "autopgd", None),
        Cell("digits", "cr", "cr", "certify", 0.5),
    }
    assert commits(index.runs) == ["0123456789ab"]


def test_few_labels_are_part_of_a_cell(tmp_path):
    add_attack(tmp_path, "digits", 5, 3, 10, shots=5)
    assert list(collect(tmp_path).by_cell) == [Cell("digits", "none", "at", "autopgd", None, 5)]


def test_an_absent_store_is_empty(tmp_path):
    assert collect(tmp_path / "nothing").runs == ()


def test_training_stages_are_found_by_key(tmp_path):
    add_attack(tmp_path, "pets", 5, 3, 10, pretrain="at", finetune_wall=33)
    [run] = collect(tmp_path).runs
    index = collect(tmp_path)
    assert index.status(run.lineage.finetune_key).wall_seconds == 33
    assert index.status("f" * 12) == Status() and index.status(None) == Status()


@pytest.mark.slow
def test_ten_thousand_evaluations_are_indexed(tmp_path, record_property):
    stage = add_attack(tmp_path, "pets", 5, 3, 10)
    summary, status = (json.loads((stage / name).read_text()) for name in ("summary.json", "status.json"))
    for number in range(10_000):
        path = stage.parent / f"autopgd-pets-{number:012x}"
        path.mkdir()
        (path / "summary.json").write_text(json.dumps({**summary, "key": f"{number:012x}"}))
        (path / "status.json").write_text(json.dumps(status))
    start = time.process_time()
    index = collect(tmp_path)
    record_property("cpu_seconds", time.process_time() - start)
    assert len(index.runs) == 10_001 and len(index.by_cell) == 1
