"""Other attacks on a twentieth of the images: signs that the robust accuracy is too good to be true.

Carlini et al. 2019 (arXiv 1902.06705): more steps, larger balls, weaker attacks and plain noise must
agree.
"""

# S images of the subset, C channels, H/W pixels

from __future__ import annotations

from dataclasses import replace

import torch

from robust_transfer.attacks import threat
from robust_transfer.attacks.checks.inputs import box_diameter
from robust_transfer.attacks.checks.probes import margin_gradients, spread
from robust_transfer.attacks.checks.saturation import reattack_saturated
from robust_transfer.attacks.runner import AttackInputs, attack_all
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.core import rng

SHARE = 0.05
NUM_DRAWS = 100


def cross_checks(settings: AttackSettings, inputs: AttackInputs, count: int) -> list[str]:
    """Flag contradictions on `count` images at most, taken evenly from the correctly classified ones."""
    correct = inputs.correct_positions()
    if not correct:
        return []
    few = inputs.subset(spread(correct, count))
    state = attack_all(settings, few)
    reattack_saturated(settings, few, state)
    robust = state.robust
    return [
        *compare_steps(settings, few, int(robust.sum())),
        *compare_radii(settings, few, int(robust.sum())),
        *compare_one_step(settings, few, robust),
        *compare_noise(settings, few, robust),
    ]


def compare_steps(settings: AttackSettings, inputs: AttackInputs, robust: int) -> list[str]:
    """Flag an attack that more steps make weaker, or still much stronger."""
    few, many = (
        int(attack_all(replace(settings, num_steps=steps), inputs).robust.sum())
        for steps in (max(1, settings.num_steps // 2), 2 * settings.num_steps)
    )
    what = f"robust images at half, all and twice the steps: {few}, {robust}, {many} of {len(inputs.images)}"
    if robust > few + 1 or many > robust + 1:
        return [f"steps: more steps make the attack weaker; {what}"]
    if robust - many > max(1, 0.01 * len(inputs.images)):
        return [f"not_converged: the attack is still getting stronger; {what}"]
    return []


def compare_radii(settings: AttackSettings, inputs: AttackInputs, robust: int) -> list[str]:
    """Flag robustness that grows with the ball, or that a ball of four times the radius does not end."""
    diameter = box_diameter(settings.norm, inputs.images)
    radii = [settings.eps / 2, min(2 * settings.eps, diameter), min(4 * settings.eps, diameter)]
    half, double, huge = (int(attack_all(replace(settings, eps=eps), inputs).robust.sum()) for eps in radii)
    what = f"robust at 0.5, 1, 2, 4 eps: {half}, {robust}, {double}, {huge} of {len(inputs.images)} images"
    flags = []
    if robust > half + 1 or double > robust + 1:
        flags.append(f"eps_order: robustness grows with eps; {what}")
    if huge:
        flags.append(f"huge_eps: some images are robust even at eps = {radii[2]:.4g}; {what}")
    return flags


def compare_one_step(settings: AttackSettings, inputs: AttackInputs, robust: torch.Tensor) -> list[str]:
    """Flag images that one step along the margin's gradient breaks and the whole attack does not."""
    device = inputs.exact_model.device
    broken = 0
    everyone = list(range(len(inputs.images)))
    for first in range(0, len(everyone), settings.batch_size):
        part = everyone[first : first + settings.batch_size]
        some = inputs.subset(part)
        images, labels = some.images.to(device), some.labels.to(device)
        gradients = margin_gradients(inputs.gradient_model, images, labels)
        moved = images + settings.eps * threat.direction(gradients, norm=settings.norm)
        moved = threat.project(moved, images, norm=settings.norm, eps=settings.eps)
        wrong = inputs.exact_model.logits(moved).argmax(1) != labels
        broken += int((wrong.cpu() & robust[part]).sum())
    return [f"one_step: a single step breaks {broken} images that the attack does not"] if broken else []


def compare_noise(settings: AttackSettings, inputs: AttackInputs, robust: torch.Tensor) -> list[str]:
    """Flag robust images that one of 100 random points of the ball's boundary breaks."""
    broken = 0
    for position in robust.nonzero().flatten().tolist():
        image = inputs.images[position : position + 1]
        shape = (NUM_DRAWS, *image.shape[1:])
        noise = rng.normal(shape, settings.seed, "attack_noise", int(inputs.index[position])).to(image)
        points = threat.start_points(image, noise, norm=settings.norm, eps=settings.eps, reach=True)
        broken += bool(
            (inputs.exact_model.logits(points).argmax(1).cpu() != inputs.labels[position].cpu()).any()
        )
    return [f"random_noise: plain noise breaks {broken} images that the attack does not"] if broken else []
