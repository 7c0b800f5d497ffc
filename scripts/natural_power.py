"""The smallest effect that experiment=natural can show: a simulation of its design, made before its run.

Two pre-trainings are compared in RA on six targets at two numbers of labels. Each of the replicates draws the
labels anew, which moves both networks alike, and trains each network anew, which moves each alone; a target
answers to pre-training more or less than the mean. The test is the report's own, at the first of Holm's
levels over six contrasts.

    python scripts/natural_power.py
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from robust_transfer.report.analysis import crossed
from robust_transfer.report.study import natural

CONTRASTS = 6
IMAGES = {"faces": 100}
Array = npt.NDArray[np.float64]


def differences(effect: float, args: argparse.Namespace, random: np.random.Generator) -> list[Array]:
    """Return each set's differences in robust images, (replicates, 1, images), over its numbers of labels."""
    sets = []
    for name in natural.DATASETS:
        count = IMAGES.get(name, 300)
        own = effect + args.between_sets * random.normal()
        of_set = []
        for _ in natural.SHOTS:
            difficulty = random.normal(logit(args.base), 1.5, size=count)
            shared = random.normal(0, args.labels, size=(args.replicates, 1))
            rows = []
            for shift in (0.0, own):
                centre = (
                    args.base + shift + shared + random.normal(0, args.training, size=(args.replicates, 1))
                )
                chance = expit(difficulty + logit(np.clip(centre, 0.01, 0.99)) - logit(args.base))
                rows.append(random.random(chance.shape) < chance)
            of_set.append(rows[1].astype(float) - rows[0].astype(float))
        sets.append(np.mean(of_set, axis=0)[:, None, :])
    return sets


def power(effect: float, args: argparse.Namespace, random: np.random.Generator) -> float:
    """Return the share of studies whose test is below the first of Holm's levels."""
    tests = [
        crossed.mean(*differences(effect, args, random)).p < 0.05 / CONTRASTS for _ in range(args.studies)
    ]
    return float(np.mean(tests))


def main() -> None:
    """Print a line for each effect."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=200, help="simulated studies for each effect")
    parser.add_argument("--replicates", type=int, default=3, help="pre-trainings, each with its label draw")
    parser.add_argument("--base", type=float, default=0.25, help="RA without an effect")
    parser.add_argument("--labels", type=float, default=0.03, help="sd of RA over label draws")
    parser.add_argument("--training", type=float, default=0.015, help="sd of RA over trainings")
    parser.add_argument("--between-sets", type=float, default=0.02, help="sd of the effect over targets")
    args = parser.parse_args()
    random = np.random.Generator(np.random.PCG64(2026))
    print(
        f"{args.replicates} replicates, RA {args.base:.0%}, sd over label draws {args.labels:.1%}, ", end=""
    )
    print(f"trainings {args.training:.1%}, targets {args.between_sets:.1%}; {args.studies} studies")
    for points in (0, 1, 2, 3, 4, 5, 6, 8, 10):
        print(f"effect {points:2} points: shown in {power(points / 100, args, random):.0%}")


if __name__ == "__main__":
    main()
