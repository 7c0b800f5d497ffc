"""Evaluations that take a tenth of a second: a narrow network with a fitted head on real 8x8 digits."""

import csv
import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from robust_transfer.config.evaluators import AdaptiveConfig, DecideConfig, EvaluatorConfig, ExactConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core.numerics import deterministic
from robust_transfer.data import open_dataset
from robust_transfer.distributed.context import Context, single
from robust_transfer.evaluation.job import evaluate
from robust_transfer.models.checkpoint import save_model
from robust_transfer.models.normalized import Classifier
from robust_transfer.store.job import ModelFile, StageJob
from robust_transfer.store.records import Lineage
from robust_transfer.store.stage_config import StageConfig
from small_model import small_model
from tiny_runs import composed

CONFIG = composed("pretrain=none", "finetune=st", "dataset=digits", "model=resnet18_small")
SMALL = {
    "clean": {"subset": 40, "batch_size": 16},
    "pgd": {"subset": 20, "num_steps": 3, "batch_size": 8, "shapes": "one"},
    "autopgd": {"subset": 20, "num_steps": 4, "batch_size": 8, "shapes": "one"},
    "certify": {"subset": 8, "n": 500, "sigma": 0.1, "batch_size": 100},
}
RUNTIME = RuntimeConfig(
    devices=1,
    device="cpu",
    num_workers=0,
    compile=False,
    channels_last=True,
    activation_checkpointing=False,
    save_every_steps=500,
    save_every_minutes=10.0,
    log_every_steps=10,
    loggers=[],
    sync_batchnorm=True,
)


def digit_pixels(split: str = "test") -> tuple[torch.Tensor, torch.Tensor]:
    """Return all digits of a split, (N, 3, 8, 8) in [0, 1], with their labels; without our transforms."""
    dataset = open_dataset("digits", "data", split)
    pixels = np.stack([np.asarray(dataset[i][0]) for i in range(len(dataset))])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255, torch.tensor(dataset.labels)


def fitted_model(num_classes: int = 10) -> Classifier:
    """Random features with a linear head fitted by least squares: right on most digits, without training."""
    model = small_model(num_classes, width=4).eval()
    pixels, labels = digit_pixels("train")
    head = model.backbone.fc
    with torch.no_grad():
        model.backbone.fc = torch.nn.Identity()
        features = model(pixels).double()
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        targets = torch.nn.functional.one_hot(labels % num_classes, num_classes).double()
        gram = features.T @ features + 1e-3 * torch.eye(features.shape[1])
        solved = torch.linalg.solve(gram, features.T @ targets)
        head.weight.copy_(10 * solved[:-1].T)
        head.bias.copy_(10 * solved[-1])
    model.backbone.fc = head
    return model


def save(model: Classifier, path: Path) -> Path:
    save_model(path, model, key="f" * 12)
    return path


def settings_of(name: str, **changes) -> EvaluatorConfig:
    """Return an evaluator's shipped settings with changes; those of certify in the mode that is asked for."""
    changes = {**SMALL[name], **changes}
    if name != "certify":
        return dataclasses.replace(CONFIG.evaluator_settings[name], **changes)
    cls, rule = {
        "exact": (ExactConfig, {}),
        "decide": (DecideConfig, {"radii": [0.1], "analyses": "dense"}),
        "adaptive": (AdaptiveConfig, {"tolerance": 0.02, "analyses": "dense"}),
    }[changes.get("mode", "exact")]
    return cls(**{**dataclasses.asdict(CONFIG.evaluator_settings["certify"]), **rule, **changes})


def make_job(name: str, directory: Path, model: Path, *, dataset=None, **settings) -> StageJob:
    """Build a job; settings given here win over the small ones, and those over the shipped configs."""
    directory.mkdir(parents=True, exist_ok=True)
    stage = StageConfig(
        kind="eval",
        key="a" * 64,
        identity={"evaluator": name, "image_size": 8, "whole_image": True},
        config=settings_of(name, **settings),
        model=CONFIG.model,
        dataset=dataset or CONFIG.dataset,
        generated=None,
        lineage=Lineage(pretrain="none", finetune="st"),
        marks=(),
    )
    return StageJob(stage, ModelFile(model, "b" * 64), CONFIG.data, RUNTIME, directory)


def run(job: StageJob) -> bytes:
    """Run an evaluation in this process and return the bytes of its records."""
    evaluate(job, single("cpu"))
    return (job.directory / "records.csv").read_bytes()


class Exchange:
    """What threads that pass for processes tell each other; one runs while the others wait to hear."""

    def __init__(self, number: int) -> None:
        self.values, self.barrier = [None] * number, threading.Barrier(number, timeout=60)
        self.running = threading.Lock()

    def all_values(self, rank: int, value: object) -> list[object]:
        self.values[rank] = value
        self.running.release()
        try:
            self.barrier.wait()
            found = list(self.values)
            self.barrier.wait()
        finally:
            self.running.acquire()
        return found


@dataclasses.dataclass(frozen=True)
class Shard(Context):
    """A process that waits for nobody, but to share work, and leaves the records to another."""

    exchange: Exchange
    is_main = False

    def barrier(self) -> None:
        pass

    def all_values(self, value: object) -> list[object]:
        return self.exchange.all_values(self.rank, value)


def run_shards(job: StageJob, number: int, devices: Sequence[str] = ()) -> bytes:
    """Measure each shard of `number` in a directory of its own, then fold all journals in the job's.

    devices : of each shard; the CPU where they are not given
    """
    exchange = Exchange(number)

    def measure(rank: int, device: str) -> None:
        alone = dataclasses.replace(job, directory=job.directory / f"of-{rank}")
        alone.directory.mkdir()
        with exchange.running:
            evaluate(alone, Shard(rank, number, torch.device(device), exchange))
        assert not (alone.directory / "records.csv").exists()
        for name in (f"journal.{rank}.csv", f"flags.{rank}.json"):
            if (alone.directory / name).exists():  # a shard without warnings writes no flags
                (alone.directory / name).rename(job.directory / name)

    places = range(number), devices or ["cpu"] * number
    with deterministic(), ThreadPoolExecutor(number) as threads:  # a flag of torch's that each holds
        list(threads.map(measure, *places))
    return run(job)


def records(job: StageJob) -> list[dict[str, str]]:
    with open(job.directory / "records.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def journal_lines(job: StageJob, shard: int = 0) -> list[bytes]:
    return (job.directory / f"journal.{shard}.csv").read_bytes().splitlines(keepends=True)
