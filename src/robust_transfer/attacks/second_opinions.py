"""Other attacks on a twentieth of the images: signs that the robust accuracy is too good to be true.

Carlini et al. 2019 (arXiv 1902.06705): more steps, larger balls, weaker attacks and plain noise must
agree.
"""

# S images of the subset, C channels, H/W pixels

from __future__ import annotations

import math
from dataclasses import replace

import torch

from robust_transfer.attacks import threat
from robust_transfer.attacks.attack import Attack
from robust_transfer.attacks.guards import box_diameter
from robust_transfer.attacks.ledger import Ledger
from robust_transfer.attacks.probes import margin_gradients, spread
from robust_transfer.attacks.trial import Trial
from robust_transfer.core import rng

SHARE = 0.05
NUM_DRAWS = 100


def second_opinions(trial: Trial, attack: Attack, ledger: Ledger) -> list[str]:
    """Flag contradictions on 5 % of the images, taken evenly from the correctly classified ones."""
    correct = trial.correct_positions()
    if not correct:
        return []
    positions = spread(correct, math.ceil(SHARE * len(trial.images)))
    small, robust = trial.subset(positions), ledger.robust[positions]
    return [
        *compare_steps(small, attack, int(robust.sum())),
        *compare_radii(small, attack, int(robust.sum())),
        *compare_one_step(small, attack, robust),
        *compare_noise(small, attack, robust),
    ]


def compare_steps(trial: Trial, attack: Attack, robust: int) -> list[str]:
    """Flag an attack that more steps make weaker, or still much stronger."""
    few, many = (
        int(trial.run(replace(attack, num_steps=steps)).robust.sum())
        for steps in (max(1, attack.num_steps // 2), 2 * attack.num_steps)
    )
    what = f"robust images at half, all and twice the steps: {few}, {robust}, {many} of {len(trial.images)}"
    if robust > few + 1 or many > robust + 1:
        return [f"steps: more steps make the attack weaker; {what}"]
    if robust - many > max(1, 0.01 * len(trial.images)):
        return [f"not_converged: the attack is still getting stronger; {what}"]
    return []


def compare_radii(trial: Trial, attack: Attack, robust: int) -> list[str]:
    """Flag robustness that grows with the ball, or that a ball of four times the radius does not end."""
    diameter = box_diameter(attack.norm, trial.images)
    radii = [attack.eps / 2, min(2 * attack.eps, diameter), min(4 * attack.eps, diameter)]
    half, double, huge = (int(trial.run(replace(attack, eps=eps)).robust.sum()) for eps in radii)
    what = f"robust at 0.5, 1, 2, 4 eps: {half}, {robust}, {double}, {huge} of {len(trial.images)} images"
    flags = []
    if robust > half + 1 or double > robust + 1:
        flags.append(f"eps_order: robustness grows with eps; {what}")
    if huge:
        flags.append(f"huge_eps: some images are robust even at eps = {radii[2]:.4g}; {what}")
    return flags


def compare_one_step(trial: Trial, attack: Attack, robust: torch.Tensor) -> list[str]:
    """Flag images that one step along the margin's gradient breaks and the whole attack does not."""
    device = trial.judge.device
    broken = 0
    for part in torch.arange(len(trial.images)).split(attack.batch_size):
        some = trial.subset(part.tolist())
        images, labels = some.images.to(device), some.labels.to(device)
        gradients = margin_gradients(trial.gradient_model, images, labels)
        moved = images + attack.eps * threat.direction(gradients, norm=attack.norm)
        moved = threat.project(moved, images, norm=attack.norm, eps=attack.eps)
        wrong = trial.judge.logits(moved).argmax(1) != labels
        broken += int((wrong.cpu() & robust[part]).sum())
    return [f"one_step: a single step breaks {broken} images that the attack does not"] if broken else []


def compare_noise(trial: Trial, attack: Attack, robust: torch.Tensor) -> list[str]:
    """Flag robust images that one of 100 random points of the ball's boundary breaks."""
    broken = 0
    for position in robust.nonzero().flatten().tolist():
        image = trial.images[position : position + 1]
        shape = (NUM_DRAWS, *image.shape[1:])
        noise = rng.normal(shape, attack.seed, "attack_noise", int(trial.index[position])).to(image)
        points = threat.start_points(image, noise, norm=attack.norm, eps=attack.eps, reach=True)
        broken += bool((trial.judge.logits(points).argmax(1).cpu() != trial.labels[position].cpu()).any())
    return [f"random_noise: plain noise breaks {broken} images that the attack does not"] if broken else []
