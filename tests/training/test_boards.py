"""TensorBoard and W&B, the packages themselves, offline: what they were told is read from their files."""

from __future__ import annotations

import json

import pytest
import torch

from robust_transfer.store.directories import StageDirectory
from robust_transfer.store.records import Lineage
from robust_transfer.training.boards import Subject, open_boards, placed
from training_jobs import make_runtime

LINEAGE = Lineage(pretrain="simclr", finetune="cr", dataset="pets", seed=3, experiment="table2")
RECORDS = [{"index": i, "label": i % 2, "correct": i > 0} for i in range(4)]


@pytest.fixture
def stage(tmp_path):
    """A fine-tuning that has begun."""
    directory = tmp_path / "runs/finetune/cr-pets-simclr-resnet18-0123456789ab"
    directory.mkdir(parents=True)
    StageDirectory(directory).begin(
        format=2, key="0" * 64, parent=None, lineage=LINEAGE.values(), marks=["few shots"], images={}
    )
    (directory / "config.yaml").write_text("identity: {method: {name: cr, lr: 0.1}, seed: 3}\n")
    return directory


def show(stage, **runtime):
    """Tell boards of a training's two lines, then of an evaluation."""
    for board in open_boards(stage, make_runtime(**runtime)):
        board.images("train/images", torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).to(torch.uint8), 1)
        for step in (1, 2):
            board.log({"step": step, "loss": 0.5 * step, "lr": 0.1, "data_wait": 0.25})
        board.result({"sa": 0.75, "ra": None}, RECORDS)
        board.close()


def test_a_board_is_told_what_runs_are_filtered_by(stage, tmp_path):
    subject = Subject.of(stage)
    assert (subject.group, subject.job_type) == ("table2", "finetune")
    assert subject.tags == ("simclr", "cr", "pets", "few shots")
    assert subject.config["method.lr"] == 0.1 and subject.config["lineage.seed"] == 3
    (tmp_path / "plain").mkdir()
    assert Subject.of(tmp_path / "plain").group == "plain"  # a loop that is no stage's


def test_numbers_have_a_place_each():
    assert placed({"step": 3, "loss": 1.0, "lr": 0.1, "validation_accuracy": 0.5, "gap": None}) == {
        "train/loss": 1.0,
        "optimizer/lr": 0.1,
        "validation/accuracy": 0.5,
    }


@pytest.mark.slow
def test_tensorboard_holds_numbers_images_config_and_result(stage):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    show(stage, loggers=["tensorboard"])
    read = EventAccumulator(str(stage / "tensorboard"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("train/loss")] == [(1, 0.5), (2, 1.0)]
    assert set(read.Tags()["scalars"]) == {"train/loss", "optimizer/lr", "time/data_wait", "eval/sa"}
    assert read.Scalars("eval/sa")[0].value == 0.75
    assert len(read.Images("train/images")[0].encoded_image_string) > 60
    texts = {
        name: read.Tensors(name)[0].tensor_proto.string_val[0].decode() for name in read.Tags()["tensors"]
    }
    assert "| method.lr | 0.1 |" in texts["config/text_summary"]
    assert "| index | label | correct |" in texts["records/text_summary"]


def wandb_records(content):
    """Take an offline run's file apart: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    records, place, begun = [], 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # no chunk begins in what is left of a block
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        begun += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(wandb_internal_pb2.Record.FromString(begun))
            begun = b""
    return records


@pytest.mark.slow
def test_wandb_holds_numbers_images_config_and_result(stage, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    show(stage, loggers=["wandb"], wandb_project="mine")
    wandb.teardown()
    (file,) = stage.rglob("*.wandb")
    records = wandb_records(file.read_bytes())
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group, run.job_type) == ("mine", "table2", "finetune")
    assert set(run.tags) == {"simclr", "cr", "pets", "few shots"} and run.run_id == stage.name
    config = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in run.config.update}
    assert config["method.lr"] == 0.1
    items = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [item["train/loss"] for item in items if "train/loss" in item] == [0.5, 1.0]
    assert any("train/images" in item for item in items) and any("records" in item for item in items)
