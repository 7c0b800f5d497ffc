"""runtime.on_nonfinite=skip: a run goes on as if the step that was not finite had never been taken."""

import json
import math

import pytest
import torch

from robust_transfer.core.errors import ConfigError
from robust_transfer.training.step import TrainStep
from small_training import Crash, assert_equal_models, crashing_at, lines, train
from toy_methods import ReplayedConfig
from training_jobs import make_runtime

SKIP = make_runtime(on_nonfinite="skip", log_every_steps=2)  # a checkpoint every four steps
take = TrainStep.__call__


def poisoned(monkeypatch, loss=(), weights=()):
    """Let steps give a loss that is not finite, or weights under a loss that is; return the steps tried."""
    tried = []

    def step(self, batch, progress):
        tried.append(progress.step)
        values = take(self, batch, progress)
        if progress.step in (*loss, *weights):
            with torch.no_grad():
                for tensor in self.trained.state_dict().values():
                    tensor.fill_(math.nan) if tensor.is_floating_point() else tensor.fill_(99)
        return {**values, "loss": values["loss"] * math.nan} if progress.step in loss else values

    monkeypatch.setattr(TrainStep, "__call__", step)
    return tried


def left_out(monkeypatch, steps):
    """Let steps do nothing: what a run that passes over them is compared with."""

    def step(self, batch, progress):
        return {"loss": torch.zeros(())} if progress.step in steps else take(self, batch, progress)

    monkeypatch.setattr(TrainStep, "__call__", step)


@pytest.mark.parametrize(
    ("method", "bad", "skipped"),
    [
        ("st", {"loss": (0, 6, 7)}, {0, 6, 7}),
        ("cr", {"weights": (3, 9)}, {3, 9}),
        # three steps on every batch: with a bad one go those that follow on the same batch
        (ReplayedConfig, {"loss": (7,), "weights": (20,)}, {7, 8, 20}),
    ],
)
def test_a_bad_step_is_as_if_it_had_never_been_taken(method, bad, skipped, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        left_out(patch, skipped)
        wanted, _ = train(method, tmp_path / "wanted")
    tried = poisoned(monkeypatch, **bad)
    found, totals = train(method, tmp_path / "found", runtime=SKIP)
    assert_equal_models(found, wanted)
    assert totals["skipped_steps"] == len(skipped) and totals["steps"] in (10, 30)
    assert all(tried.count(step) == 1 for steps in bad.values() for step in steps)
    steps = [line["step"] for line in lines(tmp_path / "found")]
    assert steps == sorted(set(steps))
    assert len([said for said in caplog.messages if "past this batch" in said]) == sum(map(len, bad.values()))


def test_a_run_cut_between_a_bad_step_and_its_end_skips_the_same(tmp_path, monkeypatch):
    poisoned(monkeypatch, loss=(2, 5))
    wanted, _ = train("st", tmp_path / "wanted", runtime=SKIP)
    for batch in (5, 7):
        with pytest.raises(Crash):
            train("st", tmp_path / "cut", runtime=SKIP, batches=crashing_at(batch))
    found, totals = train("st", tmp_path / "cut", runtime=SKIP)
    assert_equal_models(found, wanted)
    assert totals["skipped_steps"] == 2


def test_a_run_that_diverges_is_given_up(tmp_path, monkeypatch):
    tried = poisoned(monkeypatch, loss=range(5, 10))
    with pytest.raises(ConfigError, match="loss is nan in step 9"):
        train("st", tmp_path, runtime=SKIP)
    assert max(tried) == 8  # three batches in a row are skipped
    assert json.loads((tmp_path / "nonfinite.json").read_text())["step"] == 9
