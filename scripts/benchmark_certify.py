"""Time the certification loop, and print what it costs as Markdown.

    python scripts/benchmark_certify.py --arch resnet50 --size 224 --batch 100 --rounds 5 --compile
    python scripts/benchmark_certify.py --cohen PATH/TO/core.py --cohen-batch 1000

Two comparisons. (1) Our loop against the bare forward of the same prepared model, in the same layout,
batch and arithmetic: what drawing, adding and counting cost. (2) Cohen et al.'s published loop, from a file
given by path, as it stands but for two shims (a CPU in place of its fixed device, and a function that SciPy
removed), on the model as it comes, against ours. How many samples `decide` saves: benchmark_samples.py.

Speeds are ratios of process CPU time with one thread, in interleaved rounds: what else runs on the machine
slows both sides. Weights are random, on which neither time nor sample counts depend. Labels in (2) make the
stated share of first guesses right, because that share decides what the label skip saves.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from measured import compared, interleaved, machine, published_loop, save

from robust_transfer.core import rng
from robust_transfer.core.choices import ARITHMETICS
from robust_transfer.models import build_model
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.modes import eval_mode
from robust_transfer.smoothing import certify
from robust_transfer.smoothing.counts import Unit
from robust_transfer.smoothing.sampling import iter_votes
from robust_transfer.smoothing.settings import BLOCK

SIGMA, ALPHA = 0.5, 0.001
Row = dict[str, object]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=100, help="samples per forward")
    parser.add_argument(
        "--samples", type=int, default=1000, help="samples per measurement in (1), 0 for none"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1, help="that share the rounds")
    parser.add_argument("--arithmetic", nargs="+", choices=ARITHMETICS, default=["fp32", "bf16"])
    parser.add_argument("--compile", nargs="?", const="too", choices=("too", "only"), help="compiled models")
    parser.add_argument("--cohen", type=Path, help="core.py of Cohen et al.'s code")
    parser.add_argument("--cohen-batch", type=int, default=1000, help="batch size of the published loop")
    parser.add_argument("--images", type=int, default=3, help="images per measurement in (2)")
    parser.add_argument("--n", type=int, default=2000, help="samples per image in (2)")
    parser.add_argument("--guess-accuracy", type=float, default=2 / 3, help="share of right guesses in (2)")
    parser.add_argument("--json", type=Path, help="write the results here too")
    return parser.parse_args()


def variants(options: argparse.Namespace) -> list[tuple[str, bool]]:
    compiled = {None: (False,), "too": (False, True), "only": (True,)}[options.compile]
    return [(kind, on) for kind in options.arithmetic for on in compiled]


def named(kind: str, compiled: bool) -> str:
    return f"{kind}, compiled" if compiled else kind


def loop_against_forward(
    model: torch.nn.Module, image: torch.Tensor, options: argparse.Namespace
) -> list[Row]:
    rows = []
    batch = image.repeat(options.batch, 1, 1, 1)
    units = [Unit(0, 0, 0, -(-options.samples // BLOCK) * BLOCK)]
    settings = {"sigma": SIGMA, "seed": 0, "purpose": "estimate", "batch_size": options.batch}
    for kind, compiled in variants(options):
        fast = fast_inference(model, arithmetic=kind, compile=compiled)

        def bare(fast: torch.nn.Module = fast) -> None:
            with torch.no_grad():
                for _ in range(-(-units[0].stop // options.batch)):
                    fast(batch)

        def ours(fast: torch.nn.Module = fast) -> None:
            with eval_mode(fast):
                list(iter_votes(fast, image[None], units, **settings))

        times = interleaved({"bare": bare, "ours": ours}, options.rounds, processes=options.processes)
        per_second = units[0].stop / statistics.median(times["ours"])
        what = f"certification, {options.arch} at {options.size} px, {named(kind, compiled)}"
        ours = f"our loop: {per_second:.1f} samples/s"
        peer = "the bare forwards of the same model"
        rows.append(compared(what, ours, peer, times["bare"], times["ours"], bound=True))
    return rows


def against_cohen(
    model: torch.nn.Module, images: list[torch.Tensor], options: argparse.Namespace
) -> list[Row]:
    plain = copy.deepcopy(model).eval()
    guesses = [
        certify(plain, x, sigma=SIGMA, n=100, batch_size=options.batch, index=i).guess
        for i, x in enumerate(images)
    ]
    right = round(options.guess_accuracy * len(images))
    labels = [guess if i < right else (guess + 1) % options.classes for i, guess in enumerate(guesses)]
    works: dict[str, Callable[[], object]] = {}
    with published_loop(options.cohen) as core:
        smooth = core.Smooth(plain, options.classes, SIGMA)
        works["cohen"] = lambda: [
            smooth.certify(x, 100, options.n, ALPHA, options.cohen_batch) for x in images
        ]
        for kind, compiled in variants(options):
            fast = fast_inference(model, arithmetic=kind, compile=compiled)
            for told in (False, True) if right < len(images) else (False,):  # nothing to skip

                def ours(fast: torch.nn.Module = fast, told: bool = told) -> None:
                    for i, x in enumerate(images):
                        label = labels[i] if told else None
                        certify(
                            fast, x, sigma=SIGMA, n=options.n, label=label, batch_size=options.batch, index=i
                        )

                works[named(kind, compiled) + (", label skip" if told else "")] = ours
        times = interleaved(works, options.rounds, processes=options.processes)
    share = f"{right}/{len(images)} guesses right"
    what = f"certification, {options.arch} at {options.size} px, n = {options.n:,}"
    peer = f"Cohen et al.'s published loop, batch {options.cohen_batch:,}"
    return [
        compared(what, f"{name} ({share})" if "skip" in name else name, peer, times["cohen"], seconds)
        for name, seconds in times.items()
        if name != "cohen"
    ]


def table(title: str, rows: list[Row]) -> None:
    if not rows:
        return
    print(f"\n{title}\n\n| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    names = [str(i) for i in range(options.classes)]
    model = build_model(
        options.arch, num_classes=options.classes, class_names=names, image_size=options.size, seed=0
    ).eval()
    shape = (3, options.size, options.size)
    images = [torch.rand(shape, generator=rng.generator(0, "benchmark", i)) for i in range(options.images)]
    print(f"{machine()}\n{options.arch} at {options.size} px, batch {options.batch}, {options.rounds} rounds")
    loop = loop_against_forward(model, images[0], options) if options.samples else []
    results: dict[str, list[Row]] = {"loop": loop}
    table("Our loop's rate / bare forward's (goal 0.98 fp32, 0.94 compiled bf16)", results["loop"])
    comparisons = results["loop"]
    if options.cohen:
        results["cohen"] = against_cohen(model, images, options)
        table(f"Published loop's CPU time (batch {options.cohen_batch}) / ours", results["cohen"])
        comparisons = comparisons + results["cohen"]
    if options.json:
        save(options.json, comparisons)


if __name__ == "__main__":
    main()
