"""Small experiments on the model before an attack: one function, of one image, with a true gradient.

All probes together cost less than 200 forward passes of single images.
"""

# P probed images, C channels, H/W pixels, K classes

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.runner import SHORTEST_GRADIENT, AttackInputs, input_gradient
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackState
from robust_transfer.core.errors import EvaluationError

NUM_PROBED = 8
NUM_REPEATS = 4
RARE_REPEATS = 25
# Differences of the logits, as a share of their scale, that kernels of another shape cannot explain.
ROUNDING = 1e-3


def probe(settings: AttackSettings, inputs: AttackInputs) -> list[str]:
    """Run all probes on a few images spread over the set, correctly classified ones where there are any."""
    few = spread_inputs(inputs)
    check_autograd(few)
    flags = check_randomness(few, settings.num_eot)
    if flags:
        return flags
    flags = check_batch(few, settings.num_eot)
    return flags if settings.num_eot > 1 else check_gradient(settings, few)


def spread_inputs(inputs: AttackInputs) -> AttackInputs:
    """Return the inputs of the few images that the probes look at."""
    return inputs.subset(spread(inputs.correct_positions() or list(range(len(inputs.images))), NUM_PROBED))


def spread(positions: list[int], count: int) -> list[int]:
    """Pick at most `count` of the positions, evenly."""
    count = min(count, len(positions))
    return [positions[i * len(positions) // count] for i in range(count)]


def check_autograd(inputs: AttackInputs) -> None:
    """Refuse a model that differentiates inside its forward pass: it could undo the attack."""
    with AutogradCalls() as watched:
        inputs.exact_model.model(inputs.images[:1].to(inputs.exact_model.device))
    if watched.names:
        raise EvaluationError(
            "autograd_in_forward: the forward pass optimises (expected a plain function, found a call of "
            f"torch.autograd.{watched.names[0]})",
            "evaluate it with an attack made for it",
        )


class AutogradCalls(TorchFunctionMode):
    """Lists the calls that differentiate in this thread's block, by whatever name they were imported."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass every call on."""
        if func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward):
            self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def check_randomness(inputs: AttackInputs, num_eot: int) -> list[str]:
    """Refuse a model whose logits change from run to run, unless its gradients are averaged."""
    model = inputs.exact_model.of_size(len(inputs.images))
    first = model.logits(inputs.images)
    if not any(differs(model.logits(inputs.images), first).any() for _ in range(NUM_REPEATS)):
        return []
    return randomised(inputs, num_eot)


def randomised(inputs: AttackInputs, num_eot: int) -> list[str]:
    """Say that a model draws random numbers: refused where its accuracy is not evaluated in expectation."""
    what = (
        "randomised: the same images get other logits in another run"
        f"{_random_parts(inputs.exact_model.model)}"
    )
    if num_eot == 1:
        raise EvaluationError(
            f"{what} (expected a fixed function, or an expected accuracy, found num_eot=1)",
            "num_eot=20 measures expected accuracy; or switch the randomness off, or certify",
        )
    return [f"{what}; robust is the expected accuracy at the point of worst mean loss"]


def check_batch(inputs: AttackInputs, num_eot: int) -> list[str]:
    """Refuse a model whose logits for an image depend on the images beside it, as with batch statistics."""
    count = len(inputs.images)
    context = torch.cat([inputs.images, 1 - inputs.images])
    together = inputs.exact_model.of_size(2 * count).logits(context)[:count]
    single = inputs.exact_model.of_size(1)
    alone = single.logits(inputs.images)
    dependent = (differs(alone, together) | differs(alone, inputs.logits.to(alone))).cpu()
    if not dependent.any():
        return []
    # Rare randomness looks like a dependence on the batch, until each image alone is asked often enough.
    if any(differs(single.logits(inputs.images), alone).any() for _ in range(RARE_REPEATS)):
        return randomised(inputs, num_eot)
    raise EvaluationError(
        f"batch: the logits of image {int(inputs.index[dependent.nonzero()[0, 0]])} depend on the other "
        f"images of its batch (expected none of {count}, found {int(dependent.sum())})",
        "look for batch statistics or normalisation over the batch in eval mode",
    )


def check_gradient(settings: AttackSettings, inputs: AttackInputs) -> list[str]:
    """Hold the gradient against finite differences: going up it, the unmodified model's margin must rise.

    Steps of a hundredth, a tenth and all of eps are tried, as steps of another length may end at a kink.
    """
    images, labels = inputs.images.to(inputs.exact_model.device), inputs.labels.to(inputs.exact_model.device)
    gradients = margin_gradients(inputs.gradient_model, images, labels)
    bad = ~gradients.flatten(1).isfinite().all(1)
    if bad.any():
        raise EvaluationError(
            f"nan_gradient: the gradient of the logit margin is not finite (expected on none of {len(bad)} "
            f"probed images, found on {int(bad.sum())})",
            "look for sqrt, norm or division at 0, and for a square root of a difference",
        )
    zero = threat.l2_norms(gradients).flatten() < SHORTEST_GRADIENT
    if zero.all():
        raise EvaluationError(
            f"zero_gradient: the logit margin has no gradient (expected one, found zero on all {len(zero)} "
            "probed images): rounding, a step function or another gradient mask in the model",
            "attack through a differentiable stand-in (BPDA), or without gradients (Square)",
        )
    before = losses.margin(inputs.exact_model.logits(images).float(), labels)
    agrees = torch.zeros_like(zero)
    for share in (0.01, 0.1, 1.0):
        moved = images + share * settings.eps * threat.direction(gradients, norm=settings.norm)
        moved = threat.project(moved, images, norm=settings.norm, eps=settings.eps)
        agrees |= losses.margin(inputs.exact_model.logits(moved).float(), labels) > before
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


def check_answers(inputs: AttackInputs, state: AttackState) -> None:
    """Refuse a model that answers otherwise when asked again where it broke: it is random, if rarely."""
    broken = (~state.robust & (state.clean_prediction == state.labels) & ~state.near_tie).nonzero().flatten()
    if not len(broken):
        return
    answers = inputs.exact_model.logits(state.images[broken]).argmax(1).cpu()
    others = int((answers != state.adversarial_prediction[broken]).sum())
    if others:
        raise EvaluationError(
            f"randomised: {others} of {len(broken)} broken images get another answer when asked again "
            "(expected none)",
            "num_eot=20 measures expected accuracy; or switch the randomness off, or certify",
        )


def margin_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the input gradients (P, C, H, W) of the logit margin, which no scale of the logits saturates."""
    points = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = losses.margin(model(points).float(), labels).sum()
    return input_gradient(loss, points)


def differs(logits: Tensor, others: Tensor) -> Tensor:
    """Return which rows differ by more than rounding, by the leading logits of `others`: (P,) bool."""
    leading = others.topk(min(3, others.shape[1]), dim=1)
    change = (logits.gather(1, leading.indices) - leading.values).abs().amax(1)
    # The images' typical scale, as a single row of logits may be flat.
    least = torch.maximum(ROUNDING * losses.top_scale(others).median(), 16 * losses.resolution(others))
    return change > least


def _random_parts(model: nn.Module) -> str:
    names = [
        name.removeprefix("model.")
        for name, part in model.named_modules()
        if any(w in type(part).__name__.lower() for w in ("drop", "noise"))
    ]
    return f", perhaps through {', '.join(names[:3])}" if names else ""
