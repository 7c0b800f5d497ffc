"""The nearest misclassified point of each image: accuracy at every radius from one run.

Pintor et al. 2021, "Fast Minimum-norm Adversarial Attacks" (arXiv 2102.12827), Algorithm 1: untargeted, then
for each of the likeliest classes; then a bisection of the way from the image to the nearest point found.
"""

# N images, B of a batch, C channels, H/W pixels, K classes

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.apgd import auto_rule
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.attacks.guarded import Call, Sample, check_before, prepared
from robust_transfer.attacks.runner import AttackInputs, input_gradient
from robust_transfer.attacks.settings import AttackSettings, checked
from robust_transfer.attacks.state import AttackResult, AttackState
from robust_transfer.core.arguments import whole
from robust_transfer.core.numerics import exact_arithmetic
from robust_transfer.models import batching
from robust_transfer.models.callables import Model

# The radius shrinks by this share where a point is misclassified, else it grows by it: less and less.
RADIUS_CHANGE = (0.05, 1e-4)
# Length of a step as a share of the radius, less and less.
STEP = (2.0, 0.01)
BISECTIONS = 12
# A point that a faster copy of the model calls misclassified may need this much more of the way.
STRETCHES = (1.0, 1.001, 1.01)
DUAL = {"l1": float("inf"), "l2": 2, "linf": 1}


@dataclass
class MinimalNormResult(AttackResult):
    """As `AttackResult`, of points as near as they were found.

    Attributes
    ----------
    images : the nearest misclassified point that was found; the image itself where it is misclassified, or
        where none was found
    distance : to it: 0 of a clean mistake, infinite where none was found; an upper bound of the true one
    robust : whether the image is correct and `distance` above eps
    """

    def accuracy(self, radii: Sequence[float]) -> list[float]:
        """Return the robust accuracy at each radius: the share of images farther from a mistake than that."""
        return [float((self.distance > radius).double().mean()) for radius in radii]


def minimal_norm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str = "l2",
    eps: float = 0.5,
    num_steps: int = 50,
    num_targets: int = 9,
    batch_size: int = 128,
    shapes: str = "ladder",
    index: Tensor | Sequence[int] | None = None,
    guards: str = "fast",
    gradient_model: Model | None = None,
    sample: Sample | None = None,
) -> MinimalNormResult:
    """Find for each image a misclassified point as near as the search gets, whatever the radius.

    Every distance is an upper bound: the unmodified model misclassifies the point that is returned. Nothing
    is drawn at random.

    Note: the paper's step has a length in pixels that suits L2; here it is a share of the current radius, so
    that one setting serves all norms and image sizes. Targets and bisection are not the paper's: without
    targets the search of some images ends where the second likeliest class has a maximum below the label.

    Parameters
    ----------
    model, images, labels, norm, batch_size, shapes, index, guards, gradient_model, sample : as in `autopgd`
    eps : the radius of `robust`, and the one that the guards try; the search does not depend on it
    num_steps : gradients of each search
    num_targets : classes that are searched for beside the untargeted search, the likeliest first

    Raises
    ------
    EvaluationError : as in `autopgd`
    """
    settings = AttackSettings(
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        loss="margin",
        batch_size=batch_size,
        shapes=shapes,
        seed=0,
        guards=guards,
        new_rule=auto_rule,
    )
    targets = checked(whole, "num_targets", num_targets, low=0)
    with prepared(settings, Call(model, images, labels, index, None, gradient_model)) as inputs:
        state = inputs.new_state()
        flags = check_before(settings, inputs, state, sample)
        distances = torch.where(state.robust, torch.inf, 0.0).double()
        opened = state.open_positions()
        for first in range(0, len(opened), batch_size):
            _attack(settings, inputs, state, opened[first : first + batch_size], targets, distances)
    missed = int(distances.isinf().sum())
    return MinimalNormResult(
        images=state.images,
        robust=distances > settings.eps,
        clean_prediction=state.clean_prediction,
        adversarial_prediction=state.adversarial_prediction,
        distance=distances,
        loss=state.loss,
        gradient_steps=state.gradient_steps,
        # A point found lies on the boundary: what may turn is on which side of eps it is.
        near_tie=(distances / settings.eps - 1).abs() < 1e-3,
        notes=state.notes(range(len(distances))),
        model_flags=flags,
        record={"guards": guards, "num_without_point": missed, "adaptive_attack": "none"},
    )


def _attack(
    settings: AttackSettings,
    inputs: AttackInputs,
    state: AttackState,
    positions: list[int],
    num_targets: int,
    distances: Tensor,
) -> None:
    """Search for one batch, and write what the exact model confirms."""
    device, count, norm = inputs.exact_model.device, len(positions), settings.norm
    size = settings.batch_size if settings.shapes == "one" else batching.shape_for(count, settings.batch_size)
    images = batching.padded(state.clean[positions].to(device), size)
    labels = batching.padded(state.labels[positions].to(device), size)
    ranked = batching.padded(state.targets[positions].to(device), size)
    found, shortest = images, torch.full_like(images.flatten(1)[:, 0], torch.inf)
    for target in (None, *ranked[:, : min(num_targets, ranked.shape[1] - 1)].unbind(1)):
        points, length = _search(settings, inputs, images, labels, target)
        found = torch.where(threat.wide(length < shortest), points, found)
        shortest = torch.minimum(shortest, length)
        state.gradient_steps[positions] += settings.num_steps
    images, labels = images[:count], labels[:count]
    points, logits = _bisect(inputs, images, labels, found[:count])
    refuse_nonfinite("logits", ~logits.isfinite().all(1).cpu(), state.index[positions])
    hit = (logits.argmax(1) != labels).nonzero().flatten()
    where = [positions[i] for i in hit.tolist()]
    if where:
        state.close(where, points[hit], logits[hit])
        distances[where] = threat.distances(points[hit], images[hit], norm=norm).cpu()


def _search(
    settings: AttackSettings, inputs: AttackInputs, images: Tensor, labels: Tensor, target: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the nearest points (B, C, H, W) that the gradient model misclassified, and how far they are.

    target : (B,) the class whose logit is raised over the label's; None: the best other one at each point
    """
    norm = settings.norm
    points, best = images.clone(), images.clone()
    shortest = torch.full_like(images.flatten(1)[:, 0], torch.inf)
    radius = torch.zeros_like(shortest)
    for step in range(settings.num_steps):
        margin, wrong, gradient = _margin(inputs, points, labels, target)
        length = _lengths(points - images, norm)
        nearer = wrong & (length < shortest)
        best = torch.where(threat.wide(nearer), points, best)
        shortest = torch.where(nearer, length, shortest)
        change, share = (_annealed(ends, step, settings.num_steps) for ends in (RADIUS_CHANGE, STEP))
        # Before a first hit, just past the radius at which a linear model would be misclassified.
        boundary = length + margin.abs() / (_lengths(gradient, norm, dual=True) + threat.TINY)
        grown = torch.where(shortest.isinf(), boundary * (1 + change), radius * (1 + change))
        radius = torch.where(wrong, torch.minimum(radius, shortest) * (1 - change), grown)
        ahead = points + threat.wide(share * radius) * threat.direction(gradient, norm=norm)
        points = threat.project(ahead, images, norm=norm, eps=threat.wide(radius))
    return best, shortest


def _margin(
    inputs: AttackInputs, points: Tensor, labels: Tensor, target: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return how far the raised logit is above the label's (B,), which points are wrong, and the gradient."""
    points = points.detach().requires_grad_()
    with torch.enable_grad(), exact_arithmetic(points.device):
        logits = inputs.gradient_model(points)
        margin = losses.margin(logits, labels)
        if target is not None:
            margin = losses.take(logits, target) - losses.take(logits, labels)
        gradient = input_gradient(margin.sum(), points)
    bad = ~(margin.isfinite() & gradient.flatten(1).isfinite().all(1)).cpu()
    refuse_nonfinite("logits or gradient", bad, torch.arange(len(bad)))
    return margin.detach(), logits.detach().argmax(1) != labels, gradient


def _bisect(inputs: AttackInputs, images: Tensor, labels: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest points on the way to those found that the exact model misclassifies, and its logits.

    Points that it denies, on a slightly longer way as well, come back with logits of their label.
    """
    way = found - images
    logits = inputs.exact_model.logits(images)
    high, points = torch.zeros(len(images), device=images.device), images
    for stretch in STRETCHES:
        there = (images + stretch * way).clamp(0, 1)
        answers = inputs.exact_model.logits(there)
        new = (answers.argmax(1) != labels) & (high == 0)
        high = torch.where(new, stretch, high)
        points = torch.where(threat.wide(new), there, points)
        logits = torch.where(new[:, None], answers, logits)
    low = torch.zeros_like(high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        there = (images + threat.wide(middle) * way).clamp(0, 1)
        answers = inputs.exact_model.logits(there)
        wrong = answers.argmax(1) != labels
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
        points = torch.where(threat.wide(wrong), there, points)
        logits = torch.where(wrong[:, None], answers, logits)
    return points, logits


def _lengths(offsets: Tensor, norm: str, *, dual: bool = False) -> Tensor:
    """Return the length (B,) in a norm, or in its dual one."""
    order = DUAL[norm] if dual else threat.ORDERS[norm]
    length: Tensor = torch.linalg.vector_norm(offsets.flatten(1), ord=order, dim=1)
    return length


def _annealed(ends: tuple[float, float], step: int, num_steps: int) -> float:
    """Go from one end to the other along half a cosine."""
    first, last = ends
    return last + (first - last) * (1 + math.cos(math.pi * step / num_steps)) / 2
