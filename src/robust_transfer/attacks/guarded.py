"""The frame of every attack: checks before, the runner, checks after, and a result measured anew."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.checks import inputs as check
from robust_transfer.attacks.checks.cross_checks import cross_checks
from robust_transfer.attacks.checks.probes import probe
from robust_transfer.attacks.checks.saturation import reattack_saturated
from robust_transfer.attacks.exact import ExactModel
from robust_transfer.attacks.runner import AttackInputs, run_attack
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState, OnFinalised
from robust_transfer.models.modes import device_of, eval_mode, kept_state, no_param_grad

# Hits come a few at a time: a forward shape so many times smaller than the batch wastes little on padding.
CONFIRMING_SHARE = 8
ALL = slice(None)


@dataclass(frozen=True)
class Call:
    """What a user hands to an attack beside its settings; see `apgd.autopgd`."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    index: Tensor | Sequence[int] | None = None
    start_noise: Tensor | None = None
    gradient_model: nn.Module | None = None
    on_finalised: OnFinalised | None = None


def attack_guarded(settings: AttackSettings, call: Call) -> AttackResult:
    """Run one attack on all images under the guards that the settings ask for."""
    with prepared(settings, call) as inputs:
        flags = check_before(settings, inputs)
        state = inputs.new_state()

        def tell(positions: list[int]) -> None:
            # Under "full", what the cross-checks find comes after the last image: nothing is told before.
            if call.on_finalised is not None and settings.guards != "full":
                call.on_finalised(positions, measured(settings, state, flags, positions))

        run_attack(settings, inputs, state, state.open_positions(), tell)
        flags += check_after(settings, inputs, state)
    return measured(settings, state, flags)


@contextmanager
def prepared(settings: AttackSettings, call: Call) -> Iterator[AttackInputs]:
    """Check the arguments, hold the model in eval mode and frozen for the block, and predict all images.

    Afterwards the model is given back exactly as it came; one that changed itself is refused.
    """
    check.check_shapes(call.images, call.labels)
    names = check.names_of(call.index, len(call.images))
    check.check_noise(call.start_noise, (settings.num_restarts, *call.images.shape))
    gradient_model = call.gradient_model or call.model
    with (
        torch.no_grad(),
        kept_state(call.model) as moved,
        eval_mode(call.model, gradient_model),
        no_param_grad(call.model, gradient_model),
    ):
        device = device_of(call.model, call.images.device)
        exact_model = ExactModel(call.model, size=settings.batch_size, device=device)
        with kept_state(call.model) as moved_by_clean_pass:
            logits = exact_model.logits(call.images)
        check.check_classes(call.labels, logits)
        losses.check_loss(settings.loss, logits.shape[1])
        if settings.guards != "off":
            check.check_state(moved_by_clean_pass)
        yield AttackInputs(
            exact_model=exact_model.of_size(max(1, settings.batch_size // CONFIRMING_SHARE)),
            gradient_model=gradient_model,
            images=call.images.detach(),
            labels=call.labels,
            index=names,
            logits=logits,
            start_noise=call.start_noise,
        )
    if settings.guards != "off":
        check.check_state(moved)


def check_before(settings: AttackSettings, inputs: AttackInputs) -> list[str]:
    """Refuse or flag what can be known before the first step."""
    if settings.guards == "off":
        return []
    flags = [
        *check.check_images(inputs.images, inputs.index),
        *check.check_eps(settings.norm, settings.eps, inputs.images),
        *check.check_autocast(inputs.exact_model.device),
    ]
    check.check_logits(inputs.logits, inputs.index)
    return flags + probe(settings, inputs)


def check_after(settings: AttackSettings, inputs: AttackInputs, state: AttackState) -> list[str]:
    """Attack again where the loss was saturated; compare with other attacks under "full"."""
    if settings.guards == "off":
        return []
    flags = reattack_saturated(settings, inputs, state)
    return flags + (cross_checks(settings, inputs, state) if settings.guards == "full" else [])


def measured(
    settings: AttackSettings, state: AttackState, flags: list[str], positions: list[int] | slice = ALL
) -> AttackResult:
    """Measure the distances from the images that are handed out, and sum up."""
    images = state.images[positions]
    distances = threat.distances(images, state.clean[positions], norm=settings.norm).cpu()
    check.check_distances(distances, eps=settings.eps, index=state.index[positions])
    wrong = state.clean_prediction[positions] != state.labels[positions]
    return AttackResult(
        images=images,
        robust=state.robust[positions],
        clean_prediction=state.clean_prediction[positions],
        adversarial_prediction=state.adversarial_prediction[positions],
        distance=distances,
        loss=state.loss[positions],
        gradient_steps=state.gradient_steps[positions],
        near_tie=state.near_tie[positions],
        flags=list(flags),
        record={
            "guards": settings.guards,
            "arithmetic": "hits judged in float32, TF32 off",
            "num_near_ties": int(state.near_tie[positions].sum()),
            "num_clean_mistakes": int(wrong.sum()),
            "largest_distance": float(distances.max()),
            "adaptive_attack": "none",
        },
    )
