"""Images that stayed robust because the attack had no gradient: attack them again, or refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from robust_transfer.attacks import notes, threat
from robust_transfer.attacks.checks.probes import margin_gradients
from robust_transfer.attacks.runner import SHORTEST_GRADIENT, AttackInputs, run_attack
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackState
from robust_transfer.core.choices import MIN_CLASSES
from robust_transfer.core.errors import EvaluationError

# At this share of images without any gradient, the number says more of the mask than of the model.
MAX_MASKED = 0.01


def reattack_saturated(settings: AttackSettings, inputs: AttackInputs, state: AttackState) -> None:
    """Attack images whose loss was flat with a loss that the logits' scale cannot flatten.

    A loss that is 0, or without gradient, at half of the points of every run or more says nothing of
    robustness. If the logit margin has a gradient there, cross-entropy was saturated: those images are
    attacked with DLR and with cross-entropy of rescaled logits (with the margin itself where there are two
    classes) and noted. If it has none, the gradient is masked: refused from 1 % of the images up, noted
    below.
    """
    _refuse_still(state)
    vanished = state.vanished().nonzero().flatten().tolist()
    masked = _without_gradient(settings, inputs, vanished)
    _refuse_masked(len(masked), len(inputs.images))
    flat = sorted({*vanished} - {*masked})
    if settings.loss != "ce":
        state.note(notes.FLAT_LOSS, flat)
    elif flat:
        again = ("dlr", "ce_rescaled") if inputs.logits.shape[1] >= MIN_CLASSES["dlr"] else ("margin",)
        for loss in again:
            opened = [position for position in flat if state.robust[position]]
            state.forget_runs(opened)
            run_attack(replace(settings, loss=loss), inputs, state, opened)
            if loss == again[0]:
                masked += [position for position in opened if state.vanished()[position]]
        state.note(notes.SATURATED, flat)
    _refuse_masked(len(masked), len(inputs.images))
    state.note(notes.ZERO_GRADIENT, masked)


def _without_gradient(settings: AttackSettings, inputs: AttackInputs, positions: Sequence[int]) -> list[int]:
    """Return the positions at which the logit margin has no gradient either."""
    found: list[int] = []
    for first in range(0, len(positions), settings.batch_size):
        part = list(positions[first : first + settings.batch_size])
        some, device = inputs.subset(part), inputs.exact_model.device
        gradients = margin_gradients(inputs.gradient_model, some.images.to(device), some.labels.to(device))
        zero = (threat.l2_norms(gradients).flatten() < SHORTEST_GRADIENT).tolist()
        found += [position for position, is_zero in zip(part, zero, strict=True) if is_zero]
    return found


def _refuse_masked(num_masked: int, num_images: int) -> None:
    if num_masked and num_masked >= MAX_MASKED * num_images:
        raise EvaluationError(
            f"zero_gradient: neither the loss nor the logit margin has a gradient (expected on fewer than "
            f"{MAX_MASKED:.0%} of {num_images} images, found on {num_masked})",
            "attack through a differentiable stand-in (BPDA), or without gradients (Square)",
        )


def _refuse_still(state: AttackState) -> None:
    """Refuse robustness of images whose points never moved at all, whatever the reason."""
    still = state.still() & ~state.vanished()
    if still.any():
        raise EvaluationError(
            f"still: the points of {int(still.sum())} of {len(still)} images never moved (expected none), "
            f"first at image {int(state.index[still][0])}",
            "is eps or step_size below what pixels resolve?",
        )
