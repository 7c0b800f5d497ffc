"""Certify whole images on a GPU as `rt-eval certify` does, and print seconds, samples and answers.

    python scripts/benchmark_whole.py --json results/benchmarks/CARD-whole.json

(1) Five images at n = 100,000, all samples drawn. (2) 500 images in mode decide, for SA and RA at 0.5.

Each sample is one forward of a network with random weights, whose time does not depend on them; the vote is
that of a half-space, so that the smoothed classifier is known: an image at a signed distance of sigma z from
the boundary has class 0 with probability Phi(z) and radius sigma z (Cohen et al. 2019, appendix B). z is
normal with mean 1 and deviation 3, and every label is class 0, as in the middle row of benchmark_samples.py.
The seconds are those of the evaluator and its journal, after one image that compiles the network.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measured import clock, machine, save
from torch import nn

from robust_transfer.cli import compose
from robust_transfer.config.evaluators.certify import CertifyConfig
from robust_transfer.config.run import train_config
from robust_transfer.core import rng
from robust_transfer.core.progress import ProgressBar
from robust_transfer.evaluation.certify import CertifyEvaluator
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext
from robust_transfer.evaluation.warnings import Warnings
from robust_transfer.models.normalized import build_model
from robust_transfer.store.journal import Journal

SIGMA, RADIUS, MEAN, DEVIATION = 0.5, 0.5, 1.0, 3.0
CLASSES = 1000


class HalfSpace(nn.Module):
    """Two classes on either side of a hyperplane, at the price of a network's forward.

    The plane's normal is the direction in which all pixels grow alike, and grey of 0.5 lies on it.
    """

    def __init__(self, network: nn.Module, pixels: int) -> None:
        super().__init__()
        self.network, self.scale = network, math.sqrt(pixels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) images to logits (B, K): the network's count for next to nothing."""
        distance = (images.flatten(1).mean(1) - 0.5) * self.scale
        sides = torch.stack([distance, -distance], 1) * 1e3
        return 1e-6 * self.network(images) + nn.functional.pad(sides, (0, CLASSES - 2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--device", default="cuda", help="a CPU shows that the script works, and no more")
    parser.add_argument("--arithmetic", default="bf16", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--batch", type=int, default=512, help="samples per forward")
    parser.add_argument("--n", type=int, default=100_000, help="samples of a certificate at most")
    parser.add_argument("--images", type=int, default=500, help="by decide")
    parser.add_argument("--json", type=Path, help="write the results here too")
    return parser.parse_args()


def pictures(number: int, size: int) -> tuple[ImageBatch, list[float]]:
    """Return grey noise whose means put it at distances sigma z from the boundary, and the z of its bytes."""
    generator = rng.generator(0, "benchmark_whole")
    pixels = 3 * size * size
    wanted = MEAN + DEVIATION * torch.randn(number, generator=generator)
    levels = 127.5 + wanted * SIGMA / math.sqrt(pixels) * 255
    noise = 80 * torch.rand(number, 3, size, size, generator=generator) - 40
    images = (levels.view(-1, 1, 1, 1) + noise).round().to(torch.uint8)
    z = (images.double().flatten(1).mean(1) / 255 - 0.5) * math.sqrt(pixels) / SIGMA
    labels = torch.zeros(number, dtype=torch.int64)
    return ImageBatch(images, labels, torch.arange(number), ()), z.tolist()


def settings(options: argparse.Namespace, mode: str) -> CertifyConfig:
    """Compose the settings that conf/ ships for a certification."""
    words = ("pretrain=none", "finetune=cr", "dataset=pets", f"certify.mode={mode}", f"certify.sigma={SIGMA}")
    if mode == "decide":
        words += (f"certify.radii=[{RADIUS}]",)
    with compose.hydra_session("rt-train", None):
        job = compose.read("train", list(words), multirun=False).jobs[0]
    return replace(
        train_config(job.values).evaluator_settings["certify"],
        n=options.n,
        ra_radius=RADIUS,
        batch_size=options.batch,
        arithmetic=options.arithmetic,
    )


def measured(context: EvalContext, config: CertifyConfig, images: ImageBatch) -> list[Mapping[str, Any]]:
    """Evaluate images into a journal, and return their records."""
    evaluator = CertifyEvaluator(config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.0.csv"
        with Journal(path, header={}, columns=evaluator.journal_columns) as journal:
            evaluator.measure(context, images, [], journal)
        with path.open(encoding="utf-8", newline="") as lines:
            next(lines)
            rows = list(csv.DictReader(lines))
    return evaluator.records(rows, images.labels.tolist())


def row(
    what: str, context: EvalContext, config: CertifyConfig, images: ImageBatch, z: list[float]
) -> dict[str, Any]:
    now = clock(context.device.type)
    began = now()
    records = measured(context, config, images)
    seconds = now() - began
    drawn = sum(record["samples_drawn"] for record in records)
    shares = {
        "sa": sum(record["correct"] for record in records),
        "ra": sum(record["correct"] and record["radius"] >= RADIUS for record in records),
        "true_sa": sum(value > 0 for value in z),
        "true_ra": sum(SIGMA * value >= RADIUS for value in z),
    }
    return {
        "what": what,
        "images": len(records),
        "seconds": seconds,
        "samples": drawn,
        "per_second": drawn / seconds,
        **{name: 100 * count / len(records) for name, count in shares.items()},
    }


def main() -> None:
    options = arguments()
    names = [str(i) for i in range(CLASSES)]
    network = build_model(
        options.arch, num_classes=CLASSES, class_names=names, image_size=options.size, seed=0
    )
    model = HalfSpace(network, 3 * options.size**2).eval().requires_grad_(False).to(options.device)
    kernels = "compiled" if options.compile else "eager"
    how = f"{options.arch} at {options.size} px, {options.arithmetic}, {kernels}, batch {options.batch}"
    print(f"{machine(options.device)}\n{how}", flush=True)
    images, z = pictures(options.images, options.size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bar = ProgressBar("certify", total=options.images, shown=False)
        warnings = Warnings(Path(folder), 0)
        context = EvalContext(model, torch.device(options.device), options.compile, bar, warnings)
        first = ImageBatch(images.pixels[:1], images.labels[:1], images.indices[:1], ())
        measured(context, replace(settings(options, "exact"), n=1000), first)  # compiles
        likely = [i for i, value in enumerate(z) if value > 0][:5]  # others cost n0 samples
        five = ImageBatch(images.pixels[likely], images.labels[:5], torch.arange(5), ())
        for text, mode, batch, of in (
            (f"5 images at n = {options.n:,}", "exact", five, [z[i] for i in likely]),
            (f"{options.images} images by decide, n = {options.n:,} at most", "decide", images, z),
        ):
            rows.append(row(f"{text}, {how}", context, settings(options, mode), batch, of))
            print(
                "| " + " | ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in rows[-1].values())
            )
            if options.json:  # a measurement that is cut short leaves what it has
                save(options.json, [], device=options.device, rows=rows)


if __name__ == "__main__":
    main()
