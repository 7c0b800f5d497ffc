import json

import pytest

from robust_transfer.core.errors import ConfigError
from robust_transfer.training import loggers
from robust_transfer.training.loggers import JsonlLogger, open_loggers
from training_jobs import make_runtime


def write(path, steps, start_step=0):
    logger = JsonlLogger(path, start_step=start_step)
    for step in steps:
        logger.log({"step": step, "loss": step / 3})
    logger.close()


def steps_in(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_after_the_checkpoint_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [1, 2, 3, 4])
    write(path, [3, 4, 5], start_step=2)
    assert steps_in(path) == [1, 2, 3, 4, 5]
    assert json.loads(path.read_text().splitlines()[0]) == {"step": 1, "loss": 1 / 3}


def test_a_torn_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [1, 2])
    with path.open("a") as stream:
        stream.write('{"step": 3, "lo')
    write(path, [3], start_step=3)
    assert steps_in(path) == [1, 2, 3]


def test_what_is_not_finite_becomes_null(tmp_path):
    logger = JsonlLogger(tmp_path / "metrics.jsonl", start_step=0)
    logger.log({"step": 1, "loss": float("nan")})
    logger.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null}\n'


def test_a_logger_that_is_not_installed_is_refused_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="wandb, which is not installed") as caught:
        open_loggers(tmp_path, make_runtime(loggers=["wandb"]), start_step=0)
    assert "robust-transfer[wandb]" in caught.value.hints[0]
