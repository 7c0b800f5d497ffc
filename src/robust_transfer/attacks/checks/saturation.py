"""Images that stayed robust because the attack had no gradient: attack them again, or refuse."""

from __future__ import annotations

from dataclasses import replace

from robust_transfer.attacks import threat
from robust_transfer.attacks.checks.probes import margin_gradients, spread
from robust_transfer.attacks.runner import SHORTEST_GRADIENT, AttackInputs, run_attack
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackState
from robust_transfer.core.choices import MIN_CLASSES
from robust_transfer.core.errors import EvaluationError

NUM_PROBED = 32
# At this share of images without any gradient, the number says more of the mask than of the model.
MAX_MASKED = 0.01


def reattack_saturated(settings: AttackSettings, inputs: AttackInputs, state: AttackState) -> list[str]:
    """Attack images whose loss was flat with a loss that the logits' scale cannot flatten.

    A loss that is 0, or without gradient, at half of the points of every run or more says nothing of
    robustness. If the logit margin has a gradient there, cross-entropy was saturated: those images are
    attacked with DLR and with cross-entropy of rescaled logits (with the margin itself where there are two
    classes) and flagged. If it has none, the gradient is masked: refused from 1 % of the images up, flagged
    below.
    """
    _refuse_still(state)
    vanished = state.vanished().nonzero().flatten().tolist()
    if not vanished:
        return []
    probed = spread(vanished, NUM_PROBED)
    masked = [
        position for position, zero in zip(probed, _without_gradient(inputs, probed), strict=True) if zero
    ]
    _refuse_masked(round(len(masked) * len(vanished) / len(probed)), len(inputs.images))
    flags = []
    saturated = [position for position in vanished if position not in masked]
    if saturated and settings.loss != "ce":
        flags.append(
            f"flat_loss: {len(saturated)} images had no usable gradient under the loss '{settings.loss}'"
        )
    elif saturated:
        again = ("dlr", "ce_rescaled") if inputs.logits.shape[1] >= MIN_CLASSES["dlr"] else ("margin",)
        for loss in again:
            opened = [position for position in saturated if state.robust[position]]
            state.forget_runs(opened)
            run_attack(replace(settings, loss=loss), inputs, state, opened)
            if loss == again[0]:
                masked += [position for position in opened if state.vanished()[position]]
        flags.append(
            f"saturated: cross-entropy had no usable gradient on {len(saturated)} images; they were attacked "
            f"again with {' and '.join(again)}"
        )
    _refuse_masked(len(masked), len(inputs.images))
    if masked:
        flags.append(
            f"zero_gradient: {len(masked)} of {len(inputs.images)} images have no gradient under any loss"
        )
    return flags


def _without_gradient(inputs: AttackInputs, positions: list[int]) -> list[bool]:
    probed = inputs.subset(positions)
    device = inputs.exact_model.device
    gradients = margin_gradients(inputs.gradient_model, probed.images.to(device), probed.labels.to(device))
    return (threat.l2_norms(gradients).flatten() < SHORTEST_GRADIENT).tolist()


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
