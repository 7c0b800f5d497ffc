"""Small experiments on the model before an attack: one function, of one image, with a true gradient.

All probes together cost less than 200 forward passes of single images.
"""

# P probed images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.attack import Attack
from robust_transfer.attacks.judge import Judge
from robust_transfer.attacks.queue import SHORTEST_GRADIENT, input_gradient
from robust_transfer.attacks.trial import Trial
from robust_transfer.core.errors import EvaluationError

NUM_PROBED = 8
NUM_REPEATS = 4
# As AutoAttack's "rand" version averages; fewer gradients of a random model say little.
MIN_EOT = 20
# Differences of the logits, as a share of their spread, that kernels of another shape cannot explain.
ROUNDING = 1e-3


def probe(trial: Trial, attack: Attack) -> list[str]:
    """Run all probes on a few images spread over the set, correctly classified ones where there are any."""
    small = trial.subset(spread(trial.correct_positions() or list(range(len(trial.images))), NUM_PROBED))
    check_autograd(small)
    flags = check_randomness(small, attack.num_eot)
    if flags:
        return flags
    check_batch(small)
    return check_gradient(small, attack)


def spread(positions: list[int], count: int) -> list[int]:
    """Pick at most `count` of the positions, evenly."""
    count = min(count, len(positions))
    return [positions[i * len(positions) // count] for i in range(count)]


def check_autograd(trial: Trial) -> None:
    """Refuse a model that differentiates inside its forward pass: it could undo the attack."""
    with watched_autograd() as calls:
        trial.judge.model(trial.images[:1].to(trial.judge.device))
    if calls:
        raise EvaluationError(
            "autograd_in_forward: the forward pass optimises (expected a plain function, found a call of "
            f"torch.autograd.{calls[0]})",
            "evaluate it with an attack made for it",
        )


@contextmanager
def watched_autograd() -> Iterator[list[str]]:
    """List the calls of torch.autograd.grad and backward made in the block."""
    calls: list[str] = []
    names = ("grad", "backward")
    before = {name: getattr(torch.autograd, name) for name in names}

    def watched(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return before[name](*args, **kwargs)

        return call

    try:
        for name in names:
            setattr(torch.autograd, name, watched(name))
        yield calls
    finally:
        for name in names:
            setattr(torch.autograd, name, before[name])


def check_randomness(trial: Trial, num_eot: int) -> list[str]:
    """Refuse a model whose logits change from run to run, unless the gradient is averaged often enough."""
    judge = Judge(trial.judge.model, size=len(trial.images), device=trial.judge.device)
    first = judge.logits(trial.images)
    if not any(differs(judge.logits(trial.images), first).any() for _ in range(NUM_REPEATS)):
        return []
    what = f"randomised: the same images get other logits in another run{_random_parts(trial.judge.model)}"
    if num_eot < MIN_EOT:
        raise EvaluationError(
            f"{what} (expected a fixed function or num_eot of at least {MIN_EOT}, found num_eot={num_eot})",
            "switch the randomness off, certify the smoothed model, or set num_eot=20",
        )
    return [what]


def check_batch(trial: Trial) -> None:
    """Refuse a model whose logits for an image depend on the images beside it, as with batch statistics."""
    count = len(trial.images)
    company = torch.cat([trial.images, 1 - trial.images])
    together = Judge(trial.judge.model, size=2 * count, device=trial.judge.device).logits(company)[:count]
    alone = Judge(trial.judge.model, size=1, device=trial.judge.device).logits(trial.images)
    dependent = (differs(alone, together) | differs(alone, trial.logits.to(alone))).cpu()
    if dependent.any():
        raise EvaluationError(
            f"batch: the logits of image {int(trial.index[dependent.nonzero()[0, 0]])} depend on the other "
            f"images of its batch (expected none of {count}, found {int(dependent.sum())})",
            "look for batch statistics or normalisation over the batch in eval mode",
        )


def check_gradient(trial: Trial, attack: Attack) -> list[str]:
    """Hold the gradient against finite differences: going up it, the unmodified model's margin must rise.

    Steps of a hundredth, a tenth and all of eps are tried, as steps of another length may end at a kink.
    """
    images, labels = trial.images.to(trial.judge.device), trial.labels.to(trial.judge.device)
    gradients = margin_gradients(trial.gradient_model, images, labels)
    zero = threat.l2_norms(gradients).flatten() < SHORTEST_GRADIENT
    if zero.all():
        raise EvaluationError(
            f"zero_gradient: the logit margin has no gradient (expected one, found zero on all {len(zero)} "
            "probed images): rounding, a step function or another gradient mask in the model",
            "attack through a differentiable stand-in (BPDA), or without gradients (Square)",
        )
    before = losses.margin(trial.judge.logits(images).float(), labels)
    agrees = torch.zeros_like(zero)
    for share in (0.01, 0.1, 1.0):
        moved = images + share * attack.eps * threat.direction(gradients, norm=attack.norm)
        moved = threat.project(moved, images, norm=attack.norm, eps=attack.eps)
        agrees |= losses.margin(trial.judge.logits(moved).float(), labels) > before
    wrong, probed = int((~agrees & ~zero).sum()), int((~zero).sum())
    if 2 * wrong > probed:
        raise EvaluationError(
            f"gradient: going up the gradient lowers the margin (expected it to rise, found {wrong} of "
            f"{probed} probed images where no step did)",
            "look for a custom backward, or a gradient_model that is not the same function as the model",
        )
    return (
        [f"gradient: no step up the gradient raised the margin on {wrong} of {probed} images"]
        if wrong
        else []
    )


def margin_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the input gradients (P, C, H, W) of the logit margin, which no scale of the logits saturates."""
    points = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = losses.margin(model(points).float(), labels).sum()
    return input_gradient(loss, points)


def differs(logits: Tensor, others: Tensor) -> Tensor:
    """Return which rows differ by more than rounding: (P,) bool."""
    scale = others.amax(1) - others.amin(1)
    return (logits - others).abs().amax(1) > ROUNDING * scale


def _random_parts(model: nn.Module) -> str:
    names = [
        name
        for name, part in model.named_modules()
        if any(w in type(part).__name__.lower() for w in ("drop", "noise"))
    ]
    return f", perhaps through {', '.join(names[:3])}" if names else ""
