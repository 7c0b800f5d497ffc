"""AutoAttack's records against the public function, its journal's own column, and the command."""

import dataclasses
import json
import sys

import pytest

from evaluation_jobs import SMALL, digit_pixels, fitted_model, make_job, records, run
from robust_transfer.attacks import autoattack
from robust_transfer.cli.evaluate import main as evaluate
from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from robust_transfer.config.runtime import BudgetConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.models.fast import fast_inference
from robust_transfer.pipeline import inputs
from robust_transfer.store.journal import read_journal
from tiny_runs import composed, tiny

pytest.importorskip("pyautoattack")
pytestmark = pytest.mark.slow
SETTINGS = {"subset": 40, "eps": 0.1, "num_steps": 4, "num_queries": 20, "batch_size": 8, "shapes": "one"}


@pytest.fixture
def job(model_file, tmp_path, monkeypatch):
    monkeypatch.setitem(SMALL, "autoattack", SETTINGS)
    return make_job("autoattack", tmp_path, model_file)


def test_records_are_those_of_the_public_function(job):
    run(job)
    table = records(job)
    indices = [int(row["index"]) for row in table]
    pixels, labels = digit_pixels()
    model = fitted_model()
    result = autoattack(
        model,
        pixels[indices],
        labels[indices],
        index=indices,
        eps=job.stage.config.eps,
        num_steps=4,
        num_queries=20,
        batch_size=8,
        shapes="one",
        gradient_model=fast_inference(model),
    )
    assert list(table[0]) == [
        *("index", "label", "clean_prediction", "adversarial_prediction", "correct", "robust"),
        *("distance", "loss", "gradient_steps", "broken_by"),
    ]
    journal = {int(row["index"]): row for row in read_journal(job.directory / "journal.0.csv")[1]}
    # Two chunks there, one here: an image's outcome does not depend on who is attacked with it.
    assert [journal[i]["broken_by"] for i in indices] == result.broken_by
    assert [row["broken_by"] for row in table] == result.broken_by
    assert [row["robust"] == "1" for row in table] == result.robust.tolist()
    assert [int(row["gradient_steps"]) for row in table] == result.gradient_steps.tolist()
    assert [float(row["distance"]) for row in table] == result.distance.tolist()
    assert set(result.broken_by) >= {"", "clean", "apgd-ce"}


def test_a_run_that_was_cut_gives_the_same_records(job, tmp_path, model_file):
    run(job)
    other = make_job("autoattack", tmp_path / "cut", model_file)
    run(other)
    path = other.directory / "journal.0.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:9]) + lines[9][:5])
    (other.directory / "records.csv").unlink()
    run(other)
    assert (other.directory / "records.csv").read_bytes() == (job.directory / "records.csv").read_bytes()
    whole, cut = (json.loads((j.directory / "summary.json").read_text()) for j in (job, other))
    assert (whole["flags"], whole["counts"]) == (cut["flags"], cut["counts"])
    broken = sum(count for name, count in whole["counts"].items() if name.startswith("broken by "))
    assert (
        broken == sum(row["robust"] == "0" for row in records(job)) and "broken by apgd-ce" in whole["counts"]
    )


def test_budgets_cap_steps_and_queries():
    config = composed(
        "pretrain=none", "finetune=at", "dataset=digits", "evaluators=[autoattack]", "budget=smoke"
    )
    settings = inputs.training_stages(config)[-1].config
    assert (settings.num_steps, settings.num_queries, settings.subset) == (2, 2, 2)
    full = dataclasses.replace(config, budget=BudgetConfig("full", False, *[None] * 6))
    settings = inputs.training_stages(full)[-1].config
    assert (settings.num_steps, settings.num_queries) == (100, 5000)


def test_only_float32_is_offered():
    with pytest.raises(ConfigError, match=r"autoattack.arithmetic='bf16'"):
        composed("pretrain=none", "finetune=at", "dataset=digits", "autoattack.arithmetic=bf16")


def test_the_command_prints_a_row_and_verify_agrees(tmp_path, capsys):
    store = tmp_path / "runs"
    assert train(tiny("none", "at", store, "until=finetune")) == 0
    [stage] = (store / "finetune").iterdir()
    words = ["autoattack", f"checkpoint={stage}", "dataset=digits", f"store={store}", "runtime.device=cpu"]
    words += ["autoattack.subset=5", "autoattack.num_steps=2", "autoattack.num_queries=5"]
    assert evaluate(words) == 0
    out = capsys.readouterr().out
    assert "  autoattack  " in out
    assert "not_standard: 2 steps, 5 queries (AutoAttack's: 100, 5000)" in out
    [evaluation] = (store / "eval").iterdir()
    assert report(["verify", evaluation.name.rsplit("-", 1)[1], "--store", str(store)]) == 0
    assert " 0 differ" in capsys.readouterr().out
    assert report(["show", evaluation.name.rsplit("-", 1)[1], "--store", str(store)]) == 0


def test_without_the_package_a_plan_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    words = ["--plan", "pretrain=none", "finetune=at", "dataset=digits", f"store={tmp_path}"]
    assert train([*words, "evaluators=[autoattack]"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "rt-train: error: autoattack needs the package pyautoattack",
        "  pip install 'robust-transfer[autoattack]'",
    ]
    assert train(words) == 0  # others need it not
