"""The frame of every attack: checks before, the runner, checks after, and a result measured anew."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.checks import arguments
from robust_transfer.attacks.checks import inputs as check
from robust_transfer.attacks.checks.cross_checks import SHARE, cross_checks
from robust_transfer.attacks.checks.probes import check_answers, probe
from robust_transfer.attacks.checks.saturation import reattack_saturated
from robust_transfer.attacks.exact import ExactModel
from robust_transfer.attacks.fast_copy import faster_copy
from robust_transfer.attacks.model import LogitModel
from robust_transfer.attacks.randomised import attack_randomised
from robust_transfer.attacks.runner import AttackInputs, run_attack
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState, OnFinalised
from robust_transfer.attacks.storage import as_stored
from robust_transfer.core import rng
from robust_transfer.models.callables import Model
from robust_transfer.models.modes import device_of, eval_mode, kept_state, no_param_grad

# Hits come a few at a time: where shapes are constant, so much smaller a one wastes little on padding.
CONFIRMING_SHARE = 8
ALL = slice(None)
# Gradients of single images from which a trial of a faster copy, of some 200, is worth its time.
LONG_ENOUGH = 3000


class Sample(NamedTuple):
    """Images (S, C, H, W), labels (S,) and names (S,) that the model is tried on before an attack.

    Where images are attacked in parts, so that what is found of the model does not depend on the parts.

    total : the number of images in all parts
    """

    images: Tensor
    labels: Tensor
    names: Tensor
    total: int


@dataclass(frozen=True)
class Call:
    """What a user hands to an attack beside its settings; see `apgd.autopgd`.

    fast : how many attacks of that length a faster copy would serve, 0 if none is to be tried
    """

    model: Model
    images: Tensor
    labels: Tensor
    index: Tensor | Sequence[int] | None = None
    start_noise: Tensor | None = None
    gradient_model: Model | None = None
    on_finalised: OnFinalised | None = None
    sample: Sample | None = None
    fast: int = 0


def attack_guarded(settings: AttackSettings, call: Call) -> AttackResult:
    """Run one attack on all images under the guards that the settings ask for."""
    with prepared(settings, call) as inputs:
        state = inputs.new_state()
        flags = check_before(settings, inputs, state, call.sample)

        def tell(positions: list[int]) -> None:
            if call.on_finalised is not None:
                part = measured(settings, state, flags, positions)
                part = as_stored(settings, inputs.exact_model, state, part, positions)
                call.on_finalised(positions, part)

        if settings.num_eot > 1:
            attack_randomised(settings, inputs, state)
        else:
            run_attack(settings, inputs, state, state.open_positions(), tell)
        check_after(settings, inputs, state)
        everyone = list(range(len(inputs.images)))
        result = measured(settings, state, flags)
        result = as_stored(settings, inputs.exact_model, state, result, everyone)
    return result


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
        if call.gradient_model is None and _copy_may_pay(settings, call, len(images), logits.shape[1]):
            gradient_model = faster_copy(model, images.to(device), labels.to(device))
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


def _copy_may_pay(settings: AttackSettings, call: Call, num_images: int, num_classes: int) -> bool:
    """Tell whether the attack is long enough, and free to take a model that a timing chose.

    With constant shapes an image has the same bits in every call; a model's draws are keyed by its passes.
    """
    gradients = call.fast * num_images * settings.num_steps * settings.num_runs(num_classes)
    free = settings.shapes == "ladder" and settings.num_eot == 1
    return free and gradients >= LONG_ENOUGH


def check_before(
    settings: AttackSettings, inputs: AttackInputs, state: AttackState, sample: Sample | None
) -> list[str]:
    """Refuse, note or flag what can be known before the first step.

    sample : images to try the model on; None: those under attack, a twentieth of them for the cross-checks
    """
    if settings.guards == "off":
        return []
    check.check_images(inputs.images, inputs.index, state)
    flags = [
        *check.check_eps(settings.norm, settings.eps, inputs.images),
        *check.check_autocast(inputs.exact_model.device),
        *check.check_precision(inputs.exact_model.model),
    ]
    check.check_logits(inputs.logits, inputs.labels, inputs.index, state)
    flags += check.check_clean(inputs.logits, inputs.labels) if sample is None else []
    tried = inputs if sample is None else sampled(inputs, sample)
    flags += probe(settings, tried)
    if settings.guards == "full" and settings.num_eot == 1:
        total = len(inputs.images) if sample is None else sample.total
        flags += cross_checks(settings, tried, math.ceil(SHARE * total))
    return flags


def sampled(inputs: AttackInputs, sample: Sample) -> AttackInputs:
    """Return the inputs with other images."""
    images = arguments.images_of(sample.images, inputs.exact_model.model.dtype)
    return replace(
        inputs,
        images=images,
        labels=arguments.labels_of(sample.labels, images),
        index=arguments.names_of(sample.names, len(images)),
        logits=inputs.exact_model.logits(images),
        start_noise=None,
    )


def check_after(settings: AttackSettings, inputs: AttackInputs, state: AttackState) -> None:
    """Attack again where the loss was saturated; refuse answers that do not repeat."""
    if settings.guards != "off" and settings.num_eot == 1:
        reattack_saturated(settings, inputs, state)
        check_answers(inputs, state)


def measured(
    settings: AttackSettings, state: AttackState, flags: list[str], positions: list[int] | slice = ALL
) -> AttackResult:
    """Measure the distances from the images that are handed out, and sum up."""
    everyone = range(len(state.images))
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
        notes=state.notes(everyone[positions] if isinstance(positions, slice) else positions),
        model_flags=list(flags),
        record={
            "guards": settings.guards,
            "arithmetic": f"evaluated with {state.arithmetic}, TF32 off",
            "num_near_ties": int(state.near_tie[positions].sum()),
            "num_clean_mistakes": int(wrong.sum()),
            "largest_distance": float(distances.max()),
            "adaptive_attack": "none",
        },
    )
