"""What a training says when it starts, and of the time that it takes."""

import logging

import pytest
import torch

from robust_transfer.config.model import ModelConfig
from robust_transfer.distributed.context import Context, single
from robust_transfer.training import start
from robust_transfer.training.start import TIMED, WARM_UP, Estimate, announce, duration
from training_jobs import make_job, plateau


@pytest.fixture(autouse=True)
def _every_line(caplog):
    caplog.set_level(logging.INFO, logger="robust_transfer")


def full_size(job):
    object.__setattr__(job.stage, "model", ModelConfig("resnet50", 64, 224, "imagenet"))
    return job


def test_the_first_line_names_device_images_and_steps(caplog, tmp_path):
    announce(make_job("st", tmp_path), 5000, single("cpu"))
    assert caplog.messages == ["cpu: 5,000 images, 1,000 steps of 10"]
    announce(make_job("at", tmp_path, schedule=plateau(), epochs=None), 50, single("cpu"))
    assert caplog.messages[1] == "cpu: 50 images, until a plateau of 10"


def test_a_network_of_full_size_on_a_cpu_is_warned_of_and_a_small_or_short_run_is_not(caplog, tmp_path):
    announce(full_size(make_job("st", tmp_path)), 5000, single("cpu"))
    warning = next(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert (
        warning == "no GPU: resnet50 at 224 pixels trains on the CPU, 1,000 steps (to try it: budget=smoke)"
    )
    caplog.clear()
    announce(full_size(make_job("st", tmp_path, max_steps=2)), 5000, single("cpu"))
    announce(make_job("st", tmp_path), 5000, single("cpu"))
    announce(full_size(make_job("st", tmp_path)), 5000, Context(1, 2, torch.device("cpu")))
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]


def test_more_processes_than_cores_are_warned_of(caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "usable_cores", lambda: 2)
    announce(make_job("st", tmp_path), 5000, Context(0, 4, torch.device("cpu")))
    assert "4 processes share 2 cores" in caplog.messages


@pytest.mark.parametrize(
    ("wait", "steps_left", "to_go"),
    [(0.1, 3600, "2.0 hours"), (0.6, 3600, "2.0 hours"), (0.6, 25, "50 seconds")],
)
def test_the_time_to_go_is_told_once_and_a_wait_of_a_fifth_in_a_run_worth_it(
    caplog, monkeypatch, wait, steps_left, to_go
):
    now = 0.0
    monkeypatch.setattr(start.time, "monotonic", lambda: now)
    estimate = Estimate(total_steps=7 + TIMED + steps_left, step=7)
    for done in range(1, 40):
        # The first steps are slow and wait long: they count for nothing.
        now += 100.0 if done <= WARM_UP else 2.0
        waited = 99.0 * min(done, WARM_UP) + wait * max(0, done - WARM_UP)
        estimate.note(7 + done, waited)
    told = "30 % of the time is spent waiting for images (more runtime.num_workers, data.cache)"
    assert caplog.messages == [f"about {to_go} to go", *([told] if wait > 0.4 and steps_left > 30 else [])]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 seconds"), (600, "10 minutes"), (7200, "2.0 hours"), (432000, "5.0 days")]
)
def test_a_length_of_time_is_told_in_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text
