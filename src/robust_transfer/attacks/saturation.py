"""Images that stayed robust because the attack had no gradient: attack them again, or refuse."""

from __future__ import annotations

from dataclasses import replace

from robust_transfer.attacks import threat
from robust_transfer.attacks.attack import Attack
from robust_transfer.attacks.ledger import Ledger
from robust_transfer.attacks.probes import margin_gradients, spread
from robust_transfer.attacks.queue import SHORTEST_GRADIENT
from robust_transfer.attacks.trial import Trial
from robust_transfer.core.errors import EvaluationError

NUM_PROBED = 32
# At this share of images without any gradient, the number says more of the mask than of the model.
MAX_MASKED = 0.01


def attack_dead_again(trial: Trial, attack: Attack, ledger: Ledger) -> list[str]:
    """Attack images whose loss was flat with a loss that the logits' scale cannot flatten.

    A loss that is 0, or without gradient, at half of the points of every run or more says nothing of
    robustness. If the logit margin has a gradient there, cross-entropy was saturated: those images are
    attacked with DLR (with the margin itself where there are two classes) and flagged. If it has none, the
    gradient is masked: refused from 1 % of the images up, flagged below.
    """
    dead = ledger.dead().nonzero().flatten().tolist()
    if not dead:
        return []
    probed = spread(dead, NUM_PROBED)
    masked = [
        position for position, zero in zip(probed, _without_gradient(trial, probed), strict=True) if zero
    ]
    _refuse_masked(round(len(masked) * len(dead) / len(probed)), len(trial.images))
    flags = []
    saturated = [position for position in dead if position not in masked]
    if saturated and attack.loss != "ce":
        flags.append(
            f"flat_loss: {len(saturated)} images had no usable gradient under the loss '{attack.loss}'"
        )
    elif saturated:
        loss = "dlr" if trial.logits.shape[1] >= 3 else "margin"
        ledger.forget_runs(saturated)
        trial.go_on(replace(attack, loss=loss), ledger, saturated)
        masked += [position for position in saturated if ledger.dead()[position]]
        flags.append(
            f"saturated: cross-entropy had no usable gradient on {len(saturated)} images; they were attacked "
            f"again with '{loss}'"
        )
    _refuse_masked(len(masked), len(trial.images))
    if masked:
        flags.append(
            f"zero_gradient: {len(masked)} of {len(trial.images)} images have no gradient under any loss"
        )
    return flags


def _without_gradient(trial: Trial, positions: list[int]) -> list[bool]:
    small = trial.subset(positions)
    device = trial.judge.device
    gradients = margin_gradients(trial.gradient_model, small.images.to(device), small.labels.to(device))
    return (threat.l2_norms(gradients).flatten() < SHORTEST_GRADIENT).tolist()


def _refuse_masked(num_masked: int, num_images: int) -> None:
    if num_masked and num_masked >= MAX_MASKED * num_images:
        raise EvaluationError(
            f"zero_gradient: neither the loss nor the logit margin has a gradient (expected on fewer than "
            f"{MAX_MASKED:.0%} of {num_images} images, found on {num_masked})",
            "attack through a differentiable stand-in (BPDA), or without gradients (Square)",
        )
