"""The frame of every attack: checks before, the runner, checks after, and a result measured anew."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.checks import arguments
from robust_transfer.attacks.checks import inputs as check
from robust_transfer.attacks.checks.cross_checks import cross_checks
from robust_transfer.attacks.checks.probes import check_answers, probe
from robust_transfer.attacks.checks.saturation import reattack_saturated
from robust_transfer.attacks.exact import ExactModel
from robust_transfer.attacks.model import LogitModel
from robust_transfer.attacks.randomised import attack_randomised
from robust_transfer.attacks.runner import AttackInputs, run_attack
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState, OnFinalised
from robust_transfer.core import rng
from robust_transfer.models.callables import Model
from robust_transfer.models.modes import device_of, eval_mode, kept_state, no_param_grad

# Hits come a few at a time: where shapes are constant, so much smaller a one wastes little on padding.
CONFIRMING_SHARE = 8
ALL = slice(None)


@dataclass(frozen=True)
class Call:
    """What a user hands to an attack beside its settings; see `apgd.autopgd`."""

    model: Model
    images: Tensor
    labels: Tensor
    index: Tensor | Sequence[int] | None = None
    start_noise: Tensor | None = None
    gradient_model: Model | None = None
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

        if settings.num_eot > 1:
            attack_randomised(settings, inputs, state)
        else:
            run_attack(settings, inputs, state, state.open_positions(), tell)
        flags += check_after(settings, inputs, state)
    return measured(settings, state, flags)


@contextmanager
def prepared(settings: AttackSettings, call: Call) -> Iterator[AttackInputs]:
    """Check the arguments, hold the model in eval mode and frozen for the block, and predict all images.

    Afterwards the model is given back exactly as it came; one that changed itself is refused.
    """
    model = LogitModel(call.model)
    gradient_model = model if call.gradient_model is None else LogitModel(call.gradient_model)
    images = arguments.images_of(call.images, model.dtype)
    labels = arguments.labels_of(call.labels, images)
    names = arguments.names_of(call.index, len(images))
    noise = arguments.noise_of(call.start_noise, (settings.num_restarts, *images.shape))
    device = device_of(model, images.device)
    with (
        torch.no_grad(),
        # What a randomised model draws depends on the call alone, and the caller's generator stays as it is.
        rng.global_state(settings.seed, "attacked_model", device=device),
        kept_state(model) as moved,
        eval_mode(model, gradient_model),
        no_param_grad(model, gradient_model),
    ):
        exact_model = ExactModel(model, size=settings.batch_size, shapes=settings.shapes, device=device)
        with kept_state(model) as moved_by_clean_pass:
            logits = exact_model.logits(images)
        check.check_classes(labels, logits)
        losses.check_classes(settings.loss, logits.shape[1])
        if settings.guards != "off":
            check.check_state(moved_by_clean_pass)
        if settings.shapes == "one":
            exact_model = exact_model.of_size(max(1, settings.batch_size // CONFIRMING_SHARE))
        yield AttackInputs(
            exact_model=exact_model,
            gradient_model=gradient_model,
            images=images,
            labels=labels,
            index=names,
            logits=logits,
            start_noise=noise,
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
        *check.check_precision(inputs.exact_model.model),
        *check.check_logits(inputs.logits, inputs.labels, inputs.index),
    ]
    return flags + probe(settings, inputs)


def check_after(settings: AttackSettings, inputs: AttackInputs, state: AttackState) -> list[str]:
    """Attack again where the loss was saturated; compare with other attacks under "full"."""
    if settings.guards == "off" or settings.num_eot > 1:
        return []
    flags = reattack_saturated(settings, inputs, state)
    check_answers(inputs, state)
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
            "arithmetic": f"evaluated with {state.arithmetic}, TF32 off",
            "num_near_ties": int(state.near_tie[positions].sum()),
            "num_clean_mistakes": int(wrong.sum()),
            "largest_distance": float(distances.max()),
            "adaptive_attack": "none",
        },
    )
