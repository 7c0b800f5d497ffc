"""Time attacks and certificates of a network on a GPU, in wall seconds, and print Markdown.

    python scripts/benchmark_gpu.py --json results/benchmarks/CARD-evaluation.json
    python scripts/benchmark_gpu.py --cohen PATH/TO/core.py --rounds 5

(1) `autopgd(model, ...)` beside pyautoattack's APGD, as both come: where every image is robust and all steps
are taken, and where most images break at once. (2) Samples per second of `certify` by arithmetic and forward
size, beside the published loop of Cohen et al. from a file given by path, at its default batch: in fp32, and
as it runs by itself, in TF32 where torch's default says so for convolutions. (3) Five images at n = 100,000,
and the hours of 500 that follow: extrapolated, and so named.

Weights and images are random: time does not depend on them. All is synchronised, in interleaved rounds.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measured import clock, compared, interleaved, machine, published_loop, save

from robust_transfer.attacks import autopgd
from robust_transfer.core import rng
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import build_model
from robust_transfer.smoothing import certify

SIGMA, ALPHA, NUM_CLASSES = 0.5, 0.001, 1000
PUBLISHED_BATCH = 1000
PUBLISHED = f"Cohen et al.'s published loop, batch {PUBLISHED_BATCH:,}"
# Arithmetic, whether compiled, samples per forward; the last is what (3) takes.
VARIANTS = (
    ("fp32", False, 512),
    ("tf32", False, 512),
    ("bf16", False, 256),
    ("bf16", False, 1024),
    ("bf16", False, 512),
    ("bf16", True, 512),
)
# Radii at which every image of a random network stays robust, and hardly any does.
RADII = {"all images robust": 1e-4, "most images broken": 5.0}

Row = dict[str, Any]
Works = dict[str, Callable[[], object]]
Networks = dict[tuple[str, bool, int], torch.nn.Module]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--device", default="cuda", help="a CPU shows that the script works, and no more")
    parser.add_argument("--images", type=int, default=64, help="to attack")
    parser.add_argument("--steps", type=int, default=100, help="of an attack")
    parser.add_argument("--samples", type=int, default=8192, help="per round, of a rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=100_000, help="samples of a certificate, for 5 images")
    parser.add_argument("--cohen", type=Path, help="core.py of Cohen et al.'s code")
    parser.add_argument("--json", type=Path, help="write the results here too")
    return parser.parse_args()


def attack_rows(model: torch.nn.Module, options: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    from pyautoattack.autopgd_base import APGDAttack

    shape = (options.images, 3, options.size, options.size)
    images = torch.rand(shape, generator=rng.generator(0, "images")).to(options.device)
    with torch.inference_mode():
        labels = torch.cat([model(part).argmax(1) for part in images.split(64)]).clone()
    comparisons, rates = [], []
    for what, eps in RADII.items():
        peer = APGDAttack(
            model, norm="L2", eps=eps, n_iter=options.steps, seed=0, loss="ce", device=options.device
        )
        results: dict[str, torch.Tensor] = {}

        def ours(eps: float = eps, results: dict[str, torch.Tensor] = results) -> None:
            found = autopgd(model, images, labels, eps=eps, num_steps=options.steps, batch_size=128)
            results["ours"] = found.robust

        def theirs(peer: Any = peer, results: dict[str, torch.Tensor] = results) -> None:
            found = torch.cat(
                [peer.perturb(x, y) for x, y in zip(images.split(128), labels.split(128), strict=True)]
            )
            with torch.inference_mode():
                results["theirs"] = model(found).argmax(1) == labels

        with training_arithmetic("fp32"):  # theirs as exact as ours
            times = interleaved({"ours": ours, "theirs": theirs}, options.rounds, device=options.device)
        robust = {name: 100 * flags.float().mean().item() for name, flags in results.items()}
        text = f"L2 attack of {options.steps} steps, {options.arch} at {options.size} px, {what}"
        ours_text, peer_text = (f"RA {robust[name]:.1f} %" for name in ("ours", "theirs"))
        comparisons.append(
            compared(
                text,
                f"autopgd: {ours_text}",
                f"pyautoattack APGD: {peer_text}",
                times["theirs"],
                times["ours"],
            )
        )
        rates.append({"what": text, "images_per_second": options.images / statistics.median(times["ours"])})
    return comparisons, rates


def certify_rows(
    networks: Networks, model: torch.nn.Module, options: argparse.Namespace
) -> tuple[list[Row], list[Row]]:
    image = images_of(1, options)[0]
    ours: Works = {
        f"{kind}{', compiled' if compiled else ''}, batch {batch}": (
            lambda fast=fast, batch=batch: samples(fast, image, options.samples, batch)
        )
        for (kind, compiled, batch), fast in networks.items()
    }
    with ExitStack() as stack:
        theirs: Works = {}
        if options.cohen:
            core = stack.enter_context(published_loop(options.cohen, options.device))
            smooth = core.Smooth(model, NUM_CLASSES, SIGMA)
            theirs = {
                f"{PUBLISHED}, {name}": lambda block=block: published_samples(smooth, image, options, block())
                for name, block in (
                    ("fp32", partial(training_arithmetic, "fp32")),
                    ("torch's default arithmetic", nullcontext),
                )
            }
        times = interleaved(ours | theirs, options.rounds, device=options.device)
    rates = [
        {"what": f"certification, {name}", "samples_per_second": options.samples / statistics.median(values)}
        for name, values in times.items()
    ]
    what = f"certification, {options.arch} at {options.size} px, no label skip"
    comparisons = [compared(what, name, peer, times[peer], times[name]) for peer in theirs for name in ours]
    return comparisons, rates


def images_of(number: int, options: argparse.Namespace) -> list[torch.Tensor]:
    """Draw images (C, H, W) in [0, 1] on the device."""
    shape = (3, options.size, options.size)
    return [
        torch.rand(shape, generator=rng.generator(0, "benchmark", i)).to(options.device)
        for i in range(number)
    ]


def samples(model: torch.nn.Module, image: torch.Tensor, number: int, batch: int) -> None:
    """Draw, classify and count `number` samples by the public function."""
    certify(model, image, sigma=SIGMA, n0=100, n=number // 100 * 100 - 100, alpha=ALPHA, batch_size=batch)


def published_samples(
    smooth: Any, image: torch.Tensor, options: argparse.Namespace, arithmetic: AbstractContextManager[None]
) -> None:
    """Draw as many samples by the published loop."""
    with arithmetic:
        smooth.certify(image, 100, options.samples - 100, ALPHA, PUBLISHED_BATCH)


def whole_certificates(networks: Networks, options: argparse.Namespace) -> Row:
    """Certify 5 images at the full n by the network that was compiled before."""
    (kind, _, batch), fast = list(networks.items())[-1]
    now = clock(options.device)
    began = now()
    for image in images_of(5, options):
        certify(fast, image, sigma=SIGMA, n=options.n, alpha=ALPHA, batch_size=batch)
    spent = now() - began
    return {
        "what": f"5 certificates at n = {options.n:,}, {kind}, compiled, batch {batch}",
        "seconds": spent,
        "samples_per_second": 5 * (options.n + 100) / spent,
        "hours_of_500_images_extrapolated": 100 * spent / 3600,
    }


def main() -> None:
    options = arguments()
    warnings.simplefilter("ignore")  # of pyautoattack
    names = [str(i) for i in range(NUM_CLASSES)]
    model = build_model(
        options.arch, num_classes=NUM_CLASSES, class_names=names, image_size=options.size, seed=0
    )
    model = model.eval().requires_grad_(False).to(options.device)
    print(
        f"{machine(options.device)}\n{options.arch} at {options.size} px, {options.rounds} rounds", flush=True
    )
    networks = {
        variant: fast_inference(model, arithmetic=variant[0], compile=variant[1]) for variant in VARIANTS
    }
    comparisons: list[Row] = []
    rows: list[Row] = []
    for part in (
        lambda: attack_rows(model, options),
        lambda: certify_rows(networks, model, options),
        lambda: ([], [whole_certificates(networks, options)]),
    ):
        compared_rows, measured = part()
        comparisons, rows = comparisons + compared_rows, rows + measured
        for row in [*compared_rows, *measured]:
            cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
            print(f"| {' | '.join(cells)} |", flush=True)
        if options.json:  # a measurement that is cut short leaves what it has
            save(options.json, comparisons, device=options.device, rows=rows)


if __name__ == "__main__":
    main()
