"""What gpu_check.py looks at: each check returns what it measured, and under "ok" whether it is right."""

# B images of one step, H/W pixels

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmark_training import methods
from study_scale_report import metrics

from robust_transfer.attacks import autopgd, pgd
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import rng
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.data.loaders import Batch
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import build_model
from robust_transfer.objectives import Progress
from robust_transfer.smoothing import certify
from robust_transfer.store import directories
from robust_transfer.training.measure import synthetic_batch, synthetic_step, timed
from robust_transfer.training.memory import peak_bytes, reset_peak
from robust_transfer.training.step import TrainStep

NUM_CLASSES = 8  # folders of written images
PROGRESS = Progress(step=0, total=None, epoch=0, steps_per_epoch=1)
FEW_STEPS = 10  # over which a peak of memory is taken
ROUNDING = 1e-3  # of losses and logits, relative to their size
LOW_PRECISION = 0.05  # of losses under tf32 and bf16
SAME_STEPS = 0.05  # of the loss a few steps after a checkpoint


@dataclass(frozen=True)
class Scale:
    """How large the checks are.

    batch : images of a step on one device
    images : JPEGs of 500 by 375 pixels in `folder`, which training reads
    steps : of a training run
    memory_steps : over which memory may not grow
    n : noise samples of a certificate
    compiled : whether the pairs of switches are compiled
    num_devices : devices that are visible
    """

    device: str
    folder: Path
    arch: str = "resnet50"
    width: int = 64
    size: int = 224
    batch: int = 64
    images: int = 2048
    steps: int = 60
    memory_steps: int = 1000
    n: int = 10_000
    compiled: bool = True
    num_devices: int = 1

    @property
    def model(self) -> ModelConfig:
        """The network as a configuration names it."""
        return ModelConfig(self.arch, self.width, self.size, "imagenet")


def classifier(scale: Scale) -> torch.nn.Module:
    """Return random weights in eval mode, on the CPU."""
    names = [str(i) for i in range(NUM_CLASSES)]
    options = {"width": scale.width, "normalize": "imagenet", "seed": 0}
    return build_model(
        scale.arch, num_classes=NUM_CLASSES, class_names=names, image_size=scale.size, **options
    ).eval()


def pixels(scale: Scale, count: int) -> torch.Tensor:
    return torch.rand(count, 3, scale.size, scale.size, generator=rng.generator(0, "images"))


# ---------------------------------------------------------------- evaluation


def attacks(scale: Scale) -> dict[str, Any]:
    """Attack a few images on the device and on the CPU: which stay robust must agree, but for near ties."""
    network, images = classifier(scale), pixels(scale, 8)
    with torch.no_grad():
        labels = network(images).argmax(1)
    measured: dict[str, Any] = {"ok": True}
    for name, attack in (("pgd", pgd), ("autopgd", autopgd)):
        flags = {}
        for device in ("cpu", scale.device):
            moved = classifier(scale).to(device)
            started = time.perf_counter()
            result = attack(moved, images.to(device), labels.to(device), eps=0.01, num_steps=5, batch_size=8)
            flags[device] = result.robust.cpu()
            seconds = time.perf_counter() - started
        different = int((flags["cpu"] != flags[scale.device]).sum())
        measured[name] = {"images": len(images), "different": different, "seconds": seconds}
        measured["ok"] &= different <= 1
    return measured


def certification(scale: Scale) -> dict[str, Any]:
    """Certify an image in two forward shapes: counts agree up to near ties."""
    network, image = classifier(scale).to(scale.device), pixels(scale, 1)[0].to(scale.device)
    found = []
    for batch_size in (scale.batch, 2 * scale.batch):
        started = time.perf_counter()
        found.append(
            certify(network, image, sigma=0.25, n0=100, n=scale.n, alpha=1e-3, batch_size=batch_size)
        )
        seconds = time.perf_counter() - started
    one, other = found
    moved = abs(one.count_top - other.count_top)
    return {
        "ok": one.guess == other.guess and moved <= one.near_ties + other.near_ties,
        "samples_per_second": (scale.n + 100) / seconds,
        "count_top": [one.count_top, other.count_top],
        "near_ties": [one.near_ties, other.near_ties],
    }


def fast(scale: Scale) -> dict[str, Any]:
    """Compare the folded copy that evaluations use with the model itself: logits, and time."""
    network, images = classifier(scale).to(scale.device), pixels(scale, scale.batch).to(scale.device)
    folded = fast_inference(network)
    with torch.inference_mode(), training_arithmetic("fp32"):  # both as exact as the folded copy is by itself
        expected, found = network(images), folded(images)
        seconds = [timed(lambda model=model: model(images), images.device) for model in (network, folded)]
    difference = float((found - expected).abs().max() / expected.abs().max())
    rates = dict(zip(("images_per_second", "folded"), (len(images) / s for s in seconds), strict=True))
    return {"ok": difference < ROUNDING, "difference": difference, **rates}


# ---------------------------------------------------------------- steps


def adversarial_step(
    scale: Scale, *, precision: str = "fp32", micro_batch: int | None = None, **runtime: Any
):
    """Return a step of AT on random images, and its batch."""
    config = replace(methods(precision, scale.batch)["at"], micro_batch=micro_batch)
    settings = {
        **{"devices": 1, "device": scale.device, "num_workers": 0, "compile": False, "channels_last": True},
        **{"activation_checkpointing": False, "save_every_steps": 1, "save_every_minutes": 10.0},
        **{"log_every_steps": 1, "loggers": [], "sync_batchnorm": True},
        **runtime,
    }
    step = synthetic_step(
        config, scale.model, RuntimeConfig(**settings), device=scale.device, num_classes=NUM_CLASSES
    )
    return step, synthetic_batch(step, scale.batch, scale.size)


def pairs(scale: Scale) -> dict[str, Any]:
    """Take the first step with each other switch, compiled and not: the same loss, up to rounding."""
    rows = {
        "alone": {},
        "channels_last=false": {"channels_last": False},
        "micro_batch": {"micro_batch": scale.batch // 2},
        "precision=tf32": {"precision": "tf32"},
        "precision=bf16": {"precision": "bf16"},
    }
    measured: dict[str, Any] = {"ok": True, "compile": scale.compiled}
    for name, changes in rows.items():
        found = loss(scale, compile=scale.compiled, **changes)
        wanted = loss(scale, **changes)
        measured[name] = {"compiled": found, "plain": wanted}
        tolerance = LOW_PRECISION if "precision" in changes else ROUNDING
        measured["ok"] &= math.isclose(found, wanted, rel_tol=tolerance)
    return measured


def loss(scale: Scale, **switches: Any) -> float:
    with training_arithmetic(switches.get("precision", "fp32")):
        step, batch = adversarial_step(scale, **switches)
        return float(step(batch, PROGRESS)["loss"])


def memory(scale: Scale) -> dict[str, Any]:
    """Take many steps: the peak of the last few is that of the first few."""
    with training_arithmetic("fp32"):
        step, batch = adversarial_step(scale)
        peak(step, batch, FEW_STEPS)  # libraries and cached kernels
        first = peak(step, batch, FEW_STEPS)
        peak(step, batch, scale.memory_steps - 3 * FEW_STEPS)
        last = peak(step, batch, FEW_STEPS)
    # On a CPU it is the whole process's, whose allocator gives back when it likes.
    most = 1.01 if scale.device != "cpu" else 1.5
    return {"ok": last <= most * first, "steps": scale.memory_steps, "first": first, "last": last}


def peak(step: TrainStep, batch: Batch, number: int) -> int:
    reset_peak(step.context.device)
    for _ in range(number):
        step(batch, PROGRESS)
    return peak_bytes(step.context.device) or 0


# ---------------------------------------------------------------- whole runs


def loader_wait(scale: Scale) -> dict[str, Any]:
    """Train from JPEG files: the share of time that the device waits for images, after the first third."""
    measured: dict[str, Any] = {"ok": True}
    for method in ("st", "simclr"):
        lines = trained(scale, f"wait-{method}", method)
        late = lines[len(lines) // 3 :]
        waits = [line["data_wait"] for line in late]
        rate = lines[-1]["images_per_second"]
        measured[method] = {"data_wait": sum(waits) / len(waits), "images_per_second": rate}
    return measured


def scaling(scale: Scale) -> dict[str, Any]:
    """Train on 1, 2, 4, 8 of the visible devices, the batch growing with them."""
    rates = {}
    for number in (n for n in (1, 2, 4, 8) if n <= scale.num_devices):
        words = (f"runtime.devices={number}", f"pretrain.batch_size={scale.batch * number}")
        rates[number] = trained(scale, f"devices-{number}", "st", *words)[-1]["images_per_second"]
    efficiency = {number: rate / number / rates[1] for number, rate in rates.items()}
    return {"ok": True, "images_per_second": rates, "efficiency": efficiency}


def kill_and_resume(scale: Scale) -> dict[str, Any]:
    """Kill a run past a checkpoint and start it again: it goes through the same steps, with the same losses.

    On a CPU they are those of a run that nobody killed, to the bit. A GPU's sums differ from run to run, and
    steps make that grow: there the last step before the kill is compared with the same one taken again, a few
    steps after the checkpoint.
    """
    whole = trained(scale, "whole", "at")
    command, store = command_of(scale, "killed", "at")
    with subprocess.Popen(command) as process:
        while process.poll() is None and last_step(store) <= scale.steps // 2:
            time.sleep(0.02)
        process.kill()
    killed = metrics(next(stages(store)))
    resumed = trained(scale, "killed", "at")
    expected = whole if scale.device == "cpu" else killed[-1:]
    again = {line["step"]: line["loss"] for line in resumed}
    worst = max(abs(again[line["step"]] - line["loss"]) / max(1e-9, abs(line["loss"])) for line in expected)
    in_order = [line["step"] for line in resumed] == [line["step"] for line in whole]
    killed_at = killed[-1]["step"]
    equal = worst <= (0 if scale.device == "cpu" else SAME_STEPS)
    return {
        "ok": in_order and equal and 0 < killed_at < scale.steps,
        "killed_after": killed_at,
        "greatest_difference": worst,
    }


def trained(scale: Scale, name: str, method: str, *more: str) -> list[dict[str, Any]]:
    """Pre-train to the end, in a store of its own name, and return the lines of metrics."""
    command, store = command_of(scale, name, method, *more)
    if code := run(command):
        raise RuntimeError(f"rt-train ended with {code}: {' '.join(command[1:])}")
    return metrics(next(stages(store)))


def command_of(scale: Scale, name: str, method: str, *more: str) -> tuple[list[str], Path]:
    store = scale.folder / name
    width = (f"model.width={scale.width}",) if scale.arch == "resnet18_small" else ()
    lr = 0.3 * scale.batch / 256 if method == "simclr" else 0.01
    words = (
        *(f"pretrain={method}", "until=pretrain", "source=imagefolder", f"store={store}", *width),
        *(f"source.root={scale.folder / 'images'}", f"model={scale.arch}", f"model.image_size={scale.size}"),
        *(f"pretrain.batch_size={scale.batch}", f"pretrain.max_steps={scale.steps}", "pretrain.epochs=null"),
        *(f"pretrain.lr={lr:g}", f"runtime.device={scale.device}", "runtime.devices=1", "data.cache=off"),
        *("runtime.log_every_steps=5", f"runtime.save_every_steps={scale.steps // 4}"),
    )
    given = {word.partition("=")[0] for word in more}
    kept = [word for word in words if word.partition("=")[0] not in given]
    return [sys.executable, "-m", "robust_transfer.cli.train", *kept, *more], store


def run(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode


def stages(store: Path) -> Iterator[Path]:
    return (stage.path for stage in directories.scan(store) if stage.kind == "pretrain")


def last_step(store: Path) -> int:
    return max((line["step"] for path in stages(store) for line in metrics(path)), default=0)


CHECKS: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "attacks": attacks,
    "certification": certification,
    "fast_inference": fast,
    "pairs": pairs,
    "memory": memory,
    "loader_wait": loader_wait,
    "scaling": scaling,
    "kill_and_resume": kill_and_resume,
}
