"""Our autoattack against pyautoattack's, as both come: CPU seconds, and images forwarded.

    python scripts/benchmark_autoattack.py --cache DIR [--rounds 10] [--images 32] [--processes 1]

The networks are those of benchmark_attacks.py, at radii where none, a few, less than half and most of the
images are robust. Every round attacks other images, one side after the other, each in batches of its own
default size. A forward is counted whatever asks for it: attacks, checks and judgements.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from benchmark_attacks import NUM_TEST, counting, digits, judge, trained
from measured import compared, rounds_of, save
from torch import Tensor, nn

from robust_transfer.attacks import autoattack

OURS, PEER = "autoattack", "pyautoattack"
# name of the setting, model, L2 radius
SETTINGS = (("none", "std", 2.0), ("few", "std", 1.3), ("half", "at", 3.0), ("most", "at", 1.75))


def ours(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return adversarial images, those of our function."""
    return autoattack(model, images, labels, eps=eps).images


def theirs(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return adversarial images, those of the package."""
    from pyautoattack import AutoAttack

    return AutoAttack(model, norm="L2", eps=eps, seed=0).run_standard_evaluation(images, labels)[0]


def attacked(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, *, backwards: bool
) -> dict[str, dict]:
    """Attack images by both; return of each the seconds, the images forwarded, the images robust."""
    warnings.simplefilter("ignore")  # of pyautoattack
    found = {}
    attacks = {OURS: ours, PEER: theirs}
    for name in sorted(attacks, reverse=backwards):
        own = copy.deepcopy(model)
        counts = counting(own)
        began = time.process_time()
        points = attacks[name](own, images, labels, eps)
        seconds = time.process_time() - began
        robust = judge(model, images, labels) & judge(model, points.detach(), labels)
        found[name] = {"seconds": seconds, "forwards": sum(counts), "robust": int(robust.sum())}
    return found


def comparisons(name: str, rounds: list[dict[str, dict]], num_images: int) -> list[dict]:
    """Set the package beside ours, in seconds and in forwards."""
    ra = {
        side: 100 * sum(r[side]["robust"] for r in rounds) / (num_images * len(rounds)) for side in rounds[0]
    }
    what = f"AutoAttack, {name}: RA {ra[OURS]:.1f} %"
    peer = f"{PEER}: RA {ra[PEER]:.1f} %"
    return [
        compared(text, OURS, peer, *([r[side][cost] for r in rounds] for side in (PEER, OURS)))
        for text, cost in ((what, "seconds"), (f"{what}, in forwards", "forwards"))
    ]


def main() -> None:
    """Attack at every setting, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="directory of the trained models")
    parser.add_argument("--images", type=int, default=32, help="of a round")
    parser.add_argument("--train-images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--settings", default=",".join(name for name, _, _ in SETTINGS))
    parser.add_argument("--processes", type=int, default=1, help="that share the rounds")
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = digits()
    train = [part[NUM_TEST:][: options.train_images] for part in (images, labels)]
    found: list[dict] = []
    for name, kind, eps in SETTINGS:
        if name not in options.settings.split(","):
            continue
        model = trained(kind, *train, options.cache)

        def attack(number: int, model: nn.Module = model, eps: float = eps) -> dict[str, dict]:
            rows = torch.arange(NUM_TEST).roll(-number * options.images)[: options.images]
            return attacked(model, images[rows], labels[rows], eps, backwards=bool(number % 2))

        rounds: list[dict[str, dict]] = []
        # A long measurement that is cut short leaves the rounds that it has.
        for result in rounds_of(attack, options.rounds, processes=options.processes):
            rounds.append(result)
            current = comparisons(name, rounds, options.images)
            if options.json:
                save(options.json, found + current)
        found += current
        for row in current:
            spread = f"{row['ratio']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
            print(f"{row['what']} | {row['peer']} | {spread} | {row['rounds']}", flush=True)


if __name__ == "__main__":
    main()
