"""Noise samples drawn again: an honest journal agrees, a forged one does not, all else is said in a line."""

import json
import shutil
from collections import Counter

import pytest
import yaml

from replicas import BUILDERS
from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from robust_transfer.config.data import DataConfig
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.recompute import Findings
from robust_transfer.evaluation.redraw import SAMPLES_PER_BLOCK, _compare, choose, redraw
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.store.journal import read_journal
from tiny_runs import tiny

DATA = DataConfig(root="data", verify=False, on_error="stop")


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    store = tmp_path_factory.mktemp("certified")
    assert train(tiny("none", "cr", store, "certify.n=300", "certify.batch_size=64")) == 0
    return store


@pytest.fixture
def stage(certified, tmp_path):
    shutil.copytree(certified, tmp_path / "store")
    [directory] = (tmp_path / "store" / "eval").iterdir()
    return directory


def rows_of(stage):
    return read_journal(stage / "journal.0.csv")[1]


def forge(stage, position, column, change):
    """Change one cell of the journal's `position`-th row."""
    path = stage / "journal.0.csv"
    lines = path.read_text().splitlines()
    cells = lines[2 + position].split(",")
    where = lines[1].split(",").index(column)
    cells[where] = change(cells[where])
    lines[2 + position] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


def test_an_honest_journal_is_drawn_again_to_the_same_counts(stage):
    rows = rows_of(stage)
    redrawn = redraw(stage, blocks=len(rows), seed=0, data=DATA)
    assert redrawn.findings.differences == []
    assert redrawn.blocks == len(rows) and redrawn.findings.compared > 3 * len(rows)
    assert redrawn.samples == sum(int(row["stop"]) - int(row["start"]) for row in rows)


def test_a_part_of_a_set_is_measured_again_if_it_is_the_part_that_was_measured(tmp_path, capsys):
    root, store = tmp_path / "data", tmp_path / "store"
    BUILDERS["pets"](root)
    partly = ("dataset=pets", "dataset.shots=null", f"data.root={root}", "data.verify=false")
    assert train(tiny("none", "cr", store, *partly)) == 0
    [directory] = (store / "eval").iterdir()
    words = ["verify", directory.name.rsplit("-", 1)[1], "--store", str(store), "--root", str(root)]
    capsys.readouterr()
    assert report([*words, "--redraw", "2"]) == 0
    assert "not at hand" not in capsys.readouterr().out
    with (root / "oxford-iiit-pet" / "annotations" / "test.txt").open("a") as listed:
        listed.write("Bengal_3 6 1 3\n")
    assert report(words) == 0
    printed = capsys.readouterr().out
    assert "not at hand" in printed and "nothing redrawn" in printed and "measured on other images" in printed


def test_the_forward_shape_changes_no_count_but_near_ties(stage):
    config = yaml.safe_load((stage / "config.yaml").read_text())
    config["config"]["batch_size"] = 100
    (stage / "config.yaml").write_text(yaml.safe_dump(config))
    assert redraw(stage, blocks=100, seed=0, data=DATA).findings.differences == []


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("count", lambda cell: str(int(cell) - 30)),
        ("ties", lambda cell: str(int(cell) + 30)),
        ("nonfinite", lambda cell: str(int(cell) + 1)),
        ("near_ties", lambda cell: str(int(cell) + 30)),
        ("counts", lambda cell: cell.rsplit(":", 1)[0] + ":" + str(int(cell.rsplit(":", 1)[1]) + 30)),
        ("guess", lambda cell: str((int(cell) + 1) % 10)),
    ],
)
def test_a_forged_cell_is_found(stage, column, change):
    forge(stage, 0, column, change)
    index = rows_of(stage)[0]["index"]
    differences = redraw(stage, blocks=100, seed=0, data=DATA).findings.differences
    assert differences and all(line.startswith(f"image {index}: select") for line in differences)


def test_other_weights_are_found_before_anything_is_drawn(stage):
    path = stage / "journal.0.csv"
    header, rest = path.read_text().split("\n", 1)
    values = json.loads(header[2:])
    path.write_text("# " + json.dumps({**values, "weights": "0" * 64}) + "\n" + rest)
    redrawn = redraw(stage, blocks=3, seed=0, data=DATA)
    assert redrawn.blocks == 0 and redrawn.findings.differences == [
        "the journal is of other weights (000000000000)"
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("noise_backend", "torch-cpu-another", "noise sampler 'torch-cpu-another'"),
        ("device", "NVIDIA H9000", "device 'NVIDIA H9000'"),
    ],
)
def test_another_sampler_or_device_is_refused_in_one_line(stage, name, value, message):
    path = stage / "journal.0.csv"
    header, rest = path.read_text().split("\n", 1)
    path.write_text("# " + json.dumps({**json.loads(header[2:]), name: value}) + "\n" + rest)
    with pytest.raises(EvaluationError, match=message):
        redraw(stage, blocks=1, seed=0, data=DATA)


def test_without_the_model_it_is_refused(stage):
    shutil.rmtree(stage.parents[1] / "finetune")
    with pytest.raises(EvaluationError, match="is not in the store"):
        redraw(stage, blocks=1, seed=0, data=DATA)


def test_other_images_are_refused(stage):
    status = json.loads((stage / "status.json").read_text())
    (stage / "status.json").write_text(json.dumps({**status, "fingerprint": "0" * 64}))
    with pytest.raises(EvaluationError, match="was measured on other images: fingerprint 000000000000"):
        redraw(stage, blocks=1, seed=0, data=DATA)


def unit(index, start, samples):
    return {"index": str(index), "purpose": "estimate", "start": str(start), "stop": str(start + samples)}


def test_which_units_are_drawn_depends_on_the_seed_alone_and_stays_within_the_samples():
    rows = [unit(i, start, 10_000) for i in range(5) for start in (0, 10_000)]
    rows += [unit(i, 20_000, 100) for i in range(5)]
    chosen = {seed: choose(rows, blocks=3, seed=seed) for seed in range(20)}
    assert chosen == {seed: choose([*rows[::-1], rows[0]], blocks=3, seed=seed) for seed in range(20)}
    samples = [[int(row["stop"]) - int(row["start"]) for row in units] for units in chosen.values()]
    assert all(len(units) == 3 and sum(units) <= 3 * SAMPLES_PER_BLOCK for units in samples)
    assert {max(units) for units in samples} in ({100, 10_000}, {10_000})
    picked = [json.dumps(row) for units in chosen.values() for row in units]
    assert len(set(picked)) > len(rows) // 2
    # Large units alone: one is drawn all the same.
    assert len(choose(rows[:10], blocks=1, seed=0)) == 1


def test_the_command_redraws_by_default_and_says_where_it_cannot(stage, capsys):
    key, store = stage.name.rsplit("-", 1)[1], stage.parents[1]
    assert report(["verify", key, "--store", str(store)]) == 0
    assert "3 units redrawn (" in capsys.readouterr().out
    assert report(["verify", key, "--store", str(store), "--redraw", "0"]) == 0
    assert "redrawn" not in capsys.readouterr().out
    assert report(["verify", key, "--store", str(store), "--redraw", "-1"]) == 2
    assert "--redraw -1 (expected 0 or more)" in capsys.readouterr().err
    shutil.rmtree(store / "finetune")
    assert report(["verify", key, "--store", str(store)]) == 0
    assert "nothing redrawn: a model that certify-digits-" in capsys.readouterr().out
    assert report(["verify", key, "--store", str(store), "--redraw", "2"]) == 2
    assert capsys.readouterr().err.startswith("rt-report: error: a model that")


@pytest.mark.parametrize(("near_ties", "moved", "differ"), [(0, 1, True), (1, 1, False), (24, 25, True)])
def test_votes_move_by_no_more_than_the_near_ties_met_now(near_ties, moved, differ):
    """Forgeries of one vote: the slack is what was redrawn, and nothing beside it."""
    row = {
        "index": "3",
        "purpose": "estimate",
        "start": "0",
        "stop": "100",
        "guess": "1",
        "count": str(60 + moved),
    }
    row |= {
        "ties": "0",
        "near_ties": str(near_ties),
        "nonfinite": "0",
        "counts": f"3;0:{40 - moved};1:{60 + moved}",
    }
    findings = Findings()
    _compare(row, ClassCounts(Counter({0: 40, 1: 60}), 0, near_ties, 0, 3), findings)
    assert bool(findings.differences) == differ
