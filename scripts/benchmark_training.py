"""Time one optimiser step of every method against the passes that it needs, and print Markdown.

    python scripts/benchmark_training.py --arch resnet50 --size 224 --batch 64 --precision bf16
    python scripts/benchmark_training.py --robustness PATH/TO/CHECKOUT --json out.json

The floor of a method is the number of passes it needs times what one costs by itself in the same precision
and layout: AT is its attack's input-gradient passes and a plain step, CR one plain step a noise copy, SimCLR
one plain step a view. The ratio to it is what the attack's arithmetic, drawing noise, losses and, with
augment_on=device, the views' colours and blur cost.

MadryLab/robustness, from a checkout given by path, runs in the same rounds on the same network, as it stands
but for shims: its data and storage helpers, which no longer import, and on a CPU its `.cuda()`. It attacks
with its default `use_best`, one more forward pass, and without; its code takes contiguous images only.

On a CPU times are process seconds with one thread, on a GPU wall seconds; all is measured in interleaved
rounds and the median counts. Images and weights are random, on which the time does not depend.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import statistics
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from measured import clock, compared, machine, save
from torch import nn
from torch.nn import functional

from robust_transfer.cli import compose
from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.run import train_config
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import rng
from robust_transfer.core.numerics import autocast, training_arithmetic
from robust_transfer.models.modes import eval_mode, no_param_grad
from robust_transfer.objectives import Progress
from robust_transfer.training.measure import synthetic_batch, synthetic_step

NUM_CLASSES = 1000
EPS, ATTACK_STEPS, NOISE_COPIES = 0.5, 3, 2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet50", choices=("resnet50", "resnet18", "resnet18_small"))
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "tf32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps per round and method")
    parser.add_argument("--robustness", type=Path, help="checkout of MadryLab/robustness")
    parser.add_argument("--json", type=Path, help="write the results here too")
    return parser.parse_args()


def methods(precision: str, batch: int) -> dict[str, TrainingConfig]:
    """Return the study's methods; schedules do not matter to a step."""
    return {
        name: replace(config, precision=precision, batch_size=batch) for name, config in shipped().items()
    }


@functools.cache
def shipped() -> dict[str, TrainingConfig]:
    """Compose the recipes of conf/ with the attack and the noise that the floors are counted for."""
    words = {
        "st": ("pretrain=st",),
        "at": (
            *("pretrain=at", "pretrain.attack.norm=l2", f"pretrain.attack.eps={EPS}"),
            f"pretrain.attack.num_steps={ATTACK_STEPS}",
        ),
        "cr": ("pretrain=cr", f"pretrain.num_noise_samples={NOISE_COPIES}"),
        "simclr": ("pretrain=simclr", "pretrain.augment_on=cpu"),
        "simclr, augment_on=device": ("pretrain=simclr", "pretrain.augment_on=device"),
    }
    with compose.hydra_session("rt-train", None):
        jobs = {
            name: compose.read("train", ["until=pretrain", *given], multirun=False).jobs[0]
            for name, given in words.items()
        }
    return {name: train_config(job.values).pretrain for name, job in jobs.items()}


def contestants(options: argparse.Namespace, precision: str) -> dict[str, Callable[[], object]]:
    """Return everything that is timed in one precision."""
    model = ModelConfig(arch=options.arch, width=64, image_size=options.size, normalize="imagenet")
    runtime = RuntimeConfig(
        devices=1,
        device=options.device,
        num_workers=0,
        compile=options.compile,
        channels_last=options.channels_last,
        activation_checkpointing=False,
        save_every_steps=1,
        save_every_minutes=10.0,
        log_every_steps=1,
        loggers=[],
        sync_batchnorm=True,
    )
    steps: dict[str, Callable[[], object]] = {}
    for name, config in methods(precision, options.batch).items():
        step = synthetic_step(config, model, runtime, device=options.device, num_classes=NUM_CLASSES)
        batch = synthetic_batch(step, options.batch, options.size)
        steps[name] = lambda step=step, batch=batch: step(batch, Progress(0, None, 0, 1))
        if name == "st":
            network = step.trained
    images = torch.rand(options.batch, 3, options.size, options.size, generator=rng.generator(0, "images"))
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    images = images.to(options.device).contiguous(memory_format=layout)
    labels = (torch.arange(options.batch) % NUM_CLASSES).to(options.device)
    steps["input gradient"] = lambda: input_gradient(network, images, labels, precision)
    if options.robustness and precision == "fp32":
        steps |= robustness_steps(options.robustness, network, images, labels)
    return steps


def input_gradient(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str) -> None:
    """Run one pass of an attack, without what the attack does with it."""
    points = images.detach().requires_grad_()
    with eval_mode(model), no_param_grad(model), autocast(precision, images.device):
        torch.autograd.grad(functional.cross_entropy(model(points).float(), labels, reduction="sum"), points)


# ---------------------------------------------------------------- MadryLab/robustness


class InputNormalize(nn.Module):
    """The one helper of theirs that the attack needs: clamp to [0, 1], then normalise."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) images to normalised ones."""
        return (images.clamp(0, 1) - self.mean) / self.std


def robustness_steps(
    checkout: Path, network: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> dict[str, Callable[[], object]]:
    """Return their adversarial training step on our network, with and without `use_best`."""
    attacker_module = import_attacker(checkout)
    statistics_of = types.SimpleNamespace(
        mean=torch.tensor(network.mean).to(images.device), std=torch.tensor(network.std).to(images.device)
    )
    attacker = attacker_module.Attacker(network.backbone, statistics_of).to(images.device)
    contiguous = images.contiguous(memory_format=torch.contiguous_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    threat = {"constraint": "2", "eps": EPS, "step_size": 2 * EPS / ATTACK_STEPS, "iterations": ATTACK_STEPS}

    def step(use_best: bool) -> None:
        network.eval()
        adversarial = attacker(contiguous, labels, random_start=True, use_best=use_best, **threat)
        network.train()
        loss = functional.cross_entropy(network(adversarial), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {
        "robustness, use_best": lambda: step(True),
        "robustness, last iterate": lambda: step(False),
    }


def import_attacker(checkout: Path) -> types.ModuleType:
    """Import robustness/attacker.py with stand-ins for what it names and the attack does not use."""
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda tensor, *_, **__: tensor
    package, tools = types.ModuleType("robustness"), types.ModuleType("robustness.tools")
    package.__path__ = [str(checkout / "robustness")]
    helpers = types.ModuleType("robustness.tools.helpers")
    helpers.InputNormalize = InputNormalize
    tools.helpers = helpers
    sys.modules |= {m.__name__: m for m in (package, tools, helpers, types.ModuleType("dill"))}
    return importlib.import_module("robustness.attacker")


# ---------------------------------------------------------------- measuring


def measure(steps: dict[str, Callable[[], object]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of one step of each contestant in each of the interleaved rounds."""
    now = clock(options.device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            started = now()
            for _ in range(options.steps):
                step()
            if turn:  # the first round warms up
                seconds[name].append((now() - started) / options.steps)
    return seconds


def floors(seconds: dict[str, float]) -> dict[str, float]:
    attack = ATTACK_STEPS * seconds["input gradient"]
    return {
        "st": seconds["st"],
        "at": attack + seconds["st"],
        "cr": NOISE_COPIES * seconds["st"],
        "simclr": 2 * seconds["st"],
        "simclr, augment_on=device": 2 * seconds["st"],
        "robustness, use_best": attack + seconds["st"],
        "robustness, last iterate": attack + seconds["st"],
    }


def comparisons(
    rounds: dict[str, list[float]], options: argparse.Namespace, precision: str
) -> list[dict[str, object]]:
    """Set each method's step beside its floor, and MadryLab/robustness' attack step beside ours."""
    by_round = [dict(zip(rounds, values, strict=True)) for values in zip(*rounds.values(), strict=True)]
    what = f"training step, {options.arch} at {options.size} px, {precision}"
    found = []
    for name in rounds.keys() & floors(by_round[0]).keys() - {"st"}:
        if name.startswith("robustness"):
            found.append(compared(what, "at", name, rounds[name], rounds["at"]))
        else:
            floor = [floors(seconds)[name] for seconds in by_round]
            peer = "the floor of its passes"
            found.append(compared(what, name, peer, floor, rounds[name], bound=True))
    return sorted(found, key=lambda row: (row["ours"], row["peer"]))


def main() -> None:
    options = arguments()
    if options.device == "cpu":
        torch.set_num_threads(1)
    layout = "channels_last" if options.channels_last else "contiguous"
    settings = {"layout": layout, "compile": options.compile, "batch": options.batch}
    settings |= {"arch": options.arch, "size": options.size}
    print(f"{options.arch}, {options.size} px, batch {options.batch}, {layout}", end=", ")
    print(machine(options.device))
    print(
        "\n| precision | step | seconds | images/s | x plain | x floor |\n|---|---|---|---|---|---|",
        flush=True,
    )
    rows, compared_rows = [], []
    for precision in options.precision:
        with training_arithmetic(precision):
            rounds = measure(contestants(options, precision), options)
        seconds = {name: statistics.median(values) for name, values in rounds.items()}
        compared_rows += comparisons(rounds, options, precision)
        for name, floor in floors(seconds).items():
            if name not in seconds:
                continue
            row = {
                "precision": precision,
                "step": name,
                "seconds": seconds[name],
                "images_per_second": options.batch / seconds[name],
                "times_plain": seconds[name] / seconds["st"],
                "floor_seconds": floor,
                "times_floor": seconds[name] / floor,
            }
            rows.append(row)
            print(
                f"| {precision} | {name} | {row['seconds']:.4g} | {row['images_per_second']:.4g} "
                f"| {row['times_plain']:.2f} | {row['times_floor']:.2f} |",
                flush=True,
            )
        if options.json:  # a measurement that is cut short leaves what it has
            save(options.json, compared_rows, device=options.device, rows=rows, **settings)


if __name__ == "__main__":
    main()
