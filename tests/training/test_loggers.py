import json
import sys
import types

import pytest

from robust_transfer.core.errors import ConfigError
from robust_transfer.training import loggers
from robust_transfer.training.loggers import JsonlLogger, open_loggers


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
        open_loggers(tmp_path, ["wandb"], start_step=0)
    assert "robust-transfer[wandb]" in caught.value.hints[0]


def test_tensorboard_and_wandb_get_the_numbers_and_where_to_go_on(tmp_path, monkeypatch):
    calls = []

    class Writer:
        def __init__(self, directory, purge_step):
            calls.append(("open", directory, purge_step))

        def add_scalar(self, name, value, step):
            calls.append((name, value, step))

        def close(self):
            calls.append(("close",))

    class WandbRun:
        def log(self, values, step):
            calls.append(("wandb", values, step))

        def finish(self):
            calls.append(("finish",))

    def init(**options):
        calls.append(("init", options["id"], options["resume"]))
        return WandbRun()

    monkeypatch.setattr(loggers, "find_spec", lambda name: object())
    tensorboard = types.ModuleType("torch.utils.tensorboard")
    tensorboard.SummaryWriter = Writer
    wandb = types.ModuleType("wandb")
    wandb.init = init
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    opened = open_loggers(tmp_path, ["tensorboard", "wandb"], start_step=7)
    for logger in opened:
        logger.log({"step": 8, "loss": 0.5})
        logger.close()
    assert calls == [
        ("open", str(tmp_path / "tensorboard"), 8),
        ("init", tmp_path.name, "allow"),
        ("loss", 0.5, 8),
        ("close",),
        ("wandb", {"step": 8, "loss": 0.5}, 8),
        ("finish",),
    ]
