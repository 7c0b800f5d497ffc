import errno
import json
import math
import os
import signal
import sys
import time

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError, Interrupted
from robust_transfer.training import checkpoints, record
from robust_transfer.training.schedules import planned_steps
from small_model import small_model
from small_training import (
    STEPS_PER_EPOCH,
    Crash,
    assert_equal_models,
    crashing_at,
    lines,
    open_batches,
    train,
)
from toy_methods import AveragedConfig, ReplayedConfig
from training_jobs import METHODS, make_method, make_runtime, plateau

GOLDEN = {  # the losses before and after the first update
    "st": [1.674597, 1.46739],
    "st_linear": [1.351883, 0.924921],
    "at": [1.790175, 1.377041],
    "cr": [2.254816, 1.746030],
    "simclr": [13.985910, 17.564498],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_losses_of_the_first_steps(name, tmp_path):
    # In float64, and no further: torch draws normal numbers that differ in their last bit by processor, and
    # each step of this small network makes a difference a thousand times larger.
    train(name, tmp_path, model=small_model(0 if name == "simclr" else 3).double(), max_steps=2)
    assert [line["loss"] for line in lines(tmp_path)] == pytest.approx(GOLDEN[name], rel=1e-4)


# The statistics that a twin keeps are here those of an untrained network, under which a larger step diverges.
SETTINGS = {"twins": {"lr": 0.002}, "free": {"replays": 3}}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_run_cut_twice_and_resumed_is_bit_equal(name, tmp_path):
    settings = SETTINGS.get(name, {})
    whole, totals = train(name, tmp_path / "whole", **settings)
    for batch in (3, 6):  # for a step a batch: before the first checkpoint, and between two (every 4 steps)
        with pytest.raises(Crash):
            train(name, tmp_path / "cut", batches=crashing_at(batch), **settings)
    resumed, resumed_facts = train(name, tmp_path / "cut", **settings)
    assert_equal_models(resumed, whole)
    assert resumed_facts["steps"] == totals["steps"] == 10 * settings.get("replays", 1)
    timing = ("seconds", "images_per_second", "data_wait")
    whole_lines, cut_lines = lines(tmp_path / "whole"), lines(tmp_path / "cut")
    for line in whole_lines + cut_lines:
        for key in timing:
            del line[key]
    assert cut_lines == whole_lines


def test_the_share_of_time_that_batches_are_waited_for_is_logged(tmp_path, monkeypatch):
    now = [0.0]  # each batch takes three seconds, the rest of a step one
    monkeypatch.setattr(record.time, "monotonic", lambda: now[0])
    note = record.Record.note

    def slow_note(*arguments):
        now[0] += 1
        note(*arguments)

    def slow_batches(start, end, *, num_views):
        for batch in open_batches(start, end, num_views=num_views):
            now[0] += 3
            yield batch

    monkeypatch.setattr(record.Record, "note", slow_note)
    train("st", tmp_path, batches=slow_batches)
    assert [line["data_wait"] for line in lines(tmp_path)] == [0.75] * 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)],
)
def test_a_signal_finishes_the_step_saves_and_exits(tmp_path, number, code):
    former = signal.getsignal(number)

    def batches(first, last, *, num_views):
        for step, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if step == 5 and not (tmp_path / "cut" / "told").exists():
                (tmp_path / "cut" / "told").touch()
                os.kill(os.getpid(), number)
            yield batch

    whole, _ = train("at", tmp_path / "whole")
    with pytest.raises(Interrupted) as stopped:
        train("at", tmp_path / "cut", batches=batches)
    assert stopped.value.code == code
    assert "goes on from step 6" in str(stopped.value)
    assert torch.load(tmp_path / "cut" / "last.pt", weights_only=True)["step"] == 6
    assert lines(tmp_path / "cut")[-1]["step"] == 6
    resumed, _ = train("at", tmp_path / "cut", batches=batches)
    assert_equal_models(resumed, whole)
    assert signal.getsignal(number) is former


def test_a_launchers_handler_is_called_after_the_save(tmp_path):
    """Submitit queues a job again in its handler of USR2, and leaves."""
    kept = []

    def queue_again(number, frame):
        kept.append(torch.load(tmp_path / "last.pt", weights_only=True)["step"])
        sys.exit(-1)

    def batches(first, last, *, num_views):
        for step, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if step == 5:
                os.kill(os.getpid(), signal.SIGUSR2)
            yield batch

    former = signal.signal(signal.SIGUSR2, queue_again)
    try:
        with pytest.raises(SystemExit) as left:
            train("st", tmp_path, batches=batches)
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert left.value.code == -1 and kept == [6]


@pytest.mark.parametrize(("minutes", "steps"), [(1e-9, list(range(1, 11))), (1e6, [10])])
def test_a_checkpoint_is_written_when_the_last_one_is_old_enough(tmp_path, monkeypatch, minutes, steps):
    real, saved = checkpoints.save, []

    def save(folder, state):
        saved.append(state["step"])
        real(folder, state)

    monkeypatch.setattr(checkpoints, "save", save)
    train("st", tmp_path, runtime=make_runtime(save_every_steps=10**6, save_every_minutes=minutes))
    assert sorted(set(saved)) == steps


def test_the_last_checkpoint_and_that_of_a_signal_are_waited_for(tmp_path, monkeypatch):
    write = checkpoints.save

    def slow(directory, state):
        time.sleep(0.3)
        write(directory, state)

    def batches(first, last, *, num_views):
        for step, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(checkpoints, "save", slow)
    with pytest.raises(Interrupted):
        train("st", tmp_path, batches=batches)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 6
    train("st", tmp_path)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 10


def test_a_checkpoint_that_cannot_be_written_stops_the_next_step(tmp_path, monkeypatch):
    def full(directory, state):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(checkpoints, "save", full)
    monkeypatch.setattr(checkpoints.Writer, "save", checkpoints.Writer._write)
    taken = []
    with pytest.raises(OSError, match="no space"):
        train("st", tmp_path, batches=lambda *span, **views: told(open_batches(*span, **views), taken))
    assert len(taken) == 5  # a checkpoint every 4 steps


def told(batches, taken):
    for batch in batches:
        taken.append(batch)
        yield batch


def test_a_finished_run_computes_nothing_again(tmp_path):
    whole, _ = train("st", tmp_path)
    again, totals = train("st", tmp_path, batches=crashing_at(10))
    assert_equal_models(again, whole)
    assert totals["steps"] == 10 and totals["images_per_second"] is None


def without_batchnorm():
    with rng.global_state(0, "init"):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("name", ["st", "at", "cr"])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_give_the_mean_over_the_batch(name, micro_batch, tmp_path):
    whole, _ = train(name, tmp_path / "whole", model=without_batchnorm().double())
    parts, _ = train(name, tmp_path / "parts", model=without_batchnorm().double(), micro_batch=micro_batch)
    for found, wanted in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    found, wanted = lines(tmp_path / "parts"), lines(tmp_path / "whole")
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in wanted], rel=1e-6)


def test_a_loss_that_is_not_finite_stops_with_step_batch_and_metric(tmp_path):
    def batches(first, last, *, num_views):
        for number, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if number == 6:
                with torch.no_grad():
                    model.backbone.fc.bias[1] = math.inf
            yield batch

    model = small_model(3)
    # No log between the bad step (7) and the next save (8): the save itself must look.
    runtime = make_runtime(log_every_steps=50)
    with pytest.raises(ConfigError, match=r"loss is nan in step 7, batch of images") as caught:
        train("st", tmp_path, batches=batches, model=model, runtime=runtime)
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    batch = next(open_batches(6, 7)).indices.tolist()
    assert report == {"batch": batch, "metric": "loss", "step": 7, "value": "nan"}
    assert ", ".join(map(str, batch)) in caught.value.what
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["step"] == 4 and torch.isfinite(kept["model"]["backbone.fc.bias"]).all()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    def batches(first, last, *, num_views):
        for number, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if number == 7:  # the eighth step has a finite loss and then an infinite gradient
                model.backbone.fc.weight.register_hook(lambda gradient: gradient * math.inf)
            yield batch

    model = small_model(3)
    with pytest.raises(ConfigError, match="weights are not finite after step 8"):
        train("st", tmp_path, batches=batches, model=model)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4


def test_plateau_ends_the_run_and_resumes_with_its_state(tmp_path):
    scores = [0.1, 0.5, 0.4, 0.3, 0.2, 0.2, 0.6]

    def run(directory, *, batches=open_batches):
        asked = lines(directory)[-1]["step"] // STEPS_PER_EPOCH if (directory / "last.pt").exists() else 0
        remaining = iter(scores[asked:])
        return train(
            "st",
            directory,
            batches=batches,
            validate=lambda model: next(remaining),
            runtime=make_runtime(save_every_steps=5),
            schedule=plateau(),
            epochs=None,
            lr=0.01,
        )

    whole, totals = run(tmp_path / "whole")
    # patience 2, one drop: best in epoch 2, drop after epoch 4, end after epoch 6.
    assert totals["epochs"] == 6 and totals["validation_accuracy"] == 0.2
    rates = [line["lr"] for line in lines(tmp_path / "whole")]
    assert rates == pytest.approx([0.01] * 20 + [0.001] * 10)
    with pytest.raises(Crash):
        run(tmp_path / "cut", batches=crashing_at(25))
    resumed, totals = run(tmp_path / "cut")
    assert totals["epochs"] == 6
    assert_equal_models(resumed, whole)
    _, totals = run(tmp_path / "cut", batches=crashing_at(30))
    assert totals["epochs"] == 6


def test_bfloat16_keeps_weights_and_losses_in_float32(tmp_path):
    model, _ = train("cr", tmp_path / "bf16", precision="bf16", max_steps=2)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    train("cr", tmp_path / "fp32", max_steps=2)
    found, wanted = lines(tmp_path / "bf16"), lines(tmp_path / "fp32")
    assert found[0]["loss"] != wanted[0]["loss"]
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in wanted], rel=0.05)
    # Averaging 8-bit mantissas would leave a multiple of 2 ** -8 at this size.
    assert found[0]["loss"] * 256 % 1 != 0


@pytest.mark.parametrize("switch", ["channels_last", "activation_checkpointing"])
def test_switches_of_speed_and_memory_change_rounding_alone(switch, tmp_path):
    plain, _ = train("cr", tmp_path / "plain", model=small_model(3).double())
    switched, _ = train(
        "cr", tmp_path / "switched", model=small_model(3).double(), runtime=make_runtime(**{switch: True})
    )
    for (name, wanted), found in zip(plain.named_parameters(), switched.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "expected"),
    [(2, None, 10), (None, 7, 7), (2, 7, 7), (1, 7, 5), (None, None, None)],
)
def test_a_run_ends_at_whichever_comes_first(epochs, max_steps, expected):
    assert planned_steps(make_method("st", epochs=epochs, max_steps=max_steps), 5) == expected


def test_a_batch_is_given_for_several_steps_and_a_run_cut_between_them_resumes(tmp_path):
    """Three steps on every batch under the same noise; epochs and the end are counted in steps."""
    whole, totals = train(ReplayedConfig, tmp_path / "whole")
    assert (totals["steps"], totals["epochs"]) == (30, 2)
    opened = []

    def batches(first, last, *, num_views):
        opened.append((first, last))
        for number, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if number == 4 and len(opened) == 1:
                raise Crash
            yield batch

    runtime = make_runtime(save_every_steps=5)
    with pytest.raises(Crash):
        train(ReplayedConfig, tmp_path / "cut", batches=batches, runtime=runtime)
    resumed, _ = train(ReplayedConfig, tmp_path / "cut", batches=batches, runtime=runtime)
    # The last checkpoint is of step 10: batch 3 has been given once.
    assert opened == [(0, 10), (3, 10)]
    assert_equal_models(resumed, whole)
    epochs = [line["epoch"] for line in lines(tmp_path / "whole")]
    assert epochs == [0] * 15 + [1] * 15


def test_the_model_that_a_method_exports_is_the_one_that_is_returned_and_validated(tmp_path):
    validated = []
    average, _ = train(
        AveragedConfig,
        tmp_path,
        validate=lambda model: validated.append(model) or 0.5,
        schedule=plateau(),
        epochs=3,
    )
    assert validated == [average] * len(validated) and validated
    state = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    for name, value in average.state_dict().items():
        assert torch.equal(value, state[f"average.{name}"]), name
    assert not torch.equal(state["online.backbone.fc.weight"], average.backbone.fc.weight)
