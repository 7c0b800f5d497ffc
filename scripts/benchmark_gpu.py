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
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scipy.stats
import torch
from measured import compared, machine, save

from robust_transfer.attacks import autopgd
from robust_transfer.core import rng
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import build_model
from robust_transfer.smoothing import certify

SIGMA, ALPHA, NUM_CLASSES = 0.5, 0.001, 1000
PUBLISHED_BATCH = 1000
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


# ---------------------------------------------------------------- measuring


def seconds(work: Callable[[], object], device: str) -> float:
    """Return the wall seconds of work that the device has finished."""
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def interleaved(works: Works, options: argparse.Namespace) -> dict[str, list[float]]:
    """Do every piece of work once to warm up, then in turn."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(options.rounds):
        for name in sorted(works, reverse=bool(number % 2)):
            times[name].append(seconds(works[name], options.device))
    return times


# ---------------------------------------------------------------- what is timed


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
            times = interleaved({"ours": ours, "theirs": theirs}, options)
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


def certify_rows(model: torch.nn.Module, options: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    image = torch.rand(3, options.size, options.size, generator=rng.generator(0, "benchmark")).to(
        options.device
    )
    works: Works = {}
    for kind, compiled, batch in VARIANTS:
        fast = fast_inference(model, arithmetic=kind, compile=compiled)
        name = f"{kind}{', compiled' if compiled else ''}, batch {batch}"
        works[name] = lambda fast=fast, batch=batch: samples(fast, image, options.samples, batch)
    if options.cohen:
        smooth = published(options.cohen).Smooth(model, NUM_CLASSES, SIGMA)
        for name in ("fp32", "torch's default arithmetic"):
            works[f"cohen, {name}"] = lambda name=name: published_samples(smooth, image, options, name)
    times = interleaved(works, options)
    rates = [
        {"what": f"certification, {name}", "samples_per_second": options.samples / statistics.median(values)}
        for name, values in times.items()
    ]
    what = f"certification, {options.arch} at {options.size} px, no label skip"
    comparisons = [
        compared(what, name, f"{peer.replace('cohen', published_name())}", times[peer], values)
        for peer in times
        if peer.startswith("cohen")
        for name, values in times.items()
        if not name.startswith("cohen")
    ]
    return comparisons, rates


def published_name() -> str:
    return f"Cohen et al.'s published loop, batch {PUBLISHED_BATCH:,}"


def samples(model: torch.nn.Module, image: torch.Tensor, number: int, batch: int) -> None:
    """Draw, classify and count `number` samples by the public function."""
    certify(model, image, sigma=SIGMA, n0=100, n=number // 100 * 100 - 100, alpha=ALPHA, batch_size=batch)


def published_samples(smooth: Any, image: torch.Tensor, options: argparse.Namespace, arithmetic: str) -> None:
    """Draw as many samples by the published loop."""
    if arithmetic == "fp32":
        with training_arithmetic("fp32"):
            smooth.certify(image, 100, options.samples - 100, ALPHA, PUBLISHED_BATCH)
    else:
        smooth.certify(image, 100, options.samples - 100, ALPHA, PUBLISHED_BATCH)


def published(path: Path) -> Any:
    """Import the published file; SciPy has removed a function that it names."""
    scipy.stats.binom_test = lambda k, n, p: scipy.stats.binomtest(int(k), int(n), p).pvalue
    spec = importlib.util.spec_from_file_location("cohen_core", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def whole_certificates(model: torch.nn.Module, options: argparse.Namespace) -> Row:
    """Certify 5 images at the full n."""
    kind, compiled, batch = VARIANTS[-1]
    fast = fast_inference(model, arithmetic=kind, compile=compiled)
    images = [
        torch.rand(3, options.size, options.size, generator=rng.generator(0, "benchmark", i)).to(
            options.device
        )
        for i in range(5)
    ]
    samples(fast, images[0], 2 * batch, batch)
    spent = seconds(
        lambda: [certify(fast, x, sigma=SIGMA, n=options.n, alpha=ALPHA, batch_size=batch) for x in images],
        options.device,
    )
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
    comparisons: list[Row] = []
    rows: list[Row] = []
    for part in (attack_rows, certify_rows, whole_certificates):
        found = part(model, options)
        compared_rows, measured = found if isinstance(found, tuple) else ([], [found])
        comparisons, rows = comparisons + compared_rows, rows + measured
        for row in [*compared_rows, *measured]:
            cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
            print(f"| {' | '.join(cells)} |", flush=True)
        if options.json:  # a measurement that is cut short leaves what it has
            save(options.json, comparisons, device=options.device, rows=rows)


if __name__ == "__main__":
    main()
