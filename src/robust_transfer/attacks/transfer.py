"""Transfer attacks: adversarial images made on one model and judged on another.

They need no gradient of the model that is judged, and so show gradients that are masked: an honest white-box
attack on the model itself breaks more. Papernot et al. 2016 (arXiv 1605.07277).
"""

# N images, B of a batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.apgd import auto_rule
from robust_transfer.attacks.checks import inputs as check
from robust_transfer.attacks.checks.probes import check_batch, check_randomness, spread_inputs
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.attacks.guarded import Call, Sample, measured, prepared, sampled
from robust_transfer.attacks.runner import AttackInputs, input_gradient
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models import batching
from robust_transfer.models.callables import Model


def transfer(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    source: Model,
    norm: str = "l2",
    eps: float = 0.5,
    num_steps: int = 100,
    num_restarts: int = 1,
    loss: str = "ce",
    batch_size: int = 128,
    shapes: str = "ladder",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    guards: str = "fast",
    sample: Sample | None = None,
) -> AttackResult:
    """Attack a source by APGD and judge the points of largest loss there on `model`.

    A run goes on to its last step, whether or not the source is fooled before: the more a point raises the
    source's loss, the more likely it fools another model. Of each run one point is judged.

    Parameters
    ----------
    source : from the same images to logits of the same classes, with gradients
    model : judged as it is; needs no gradient
    images, labels, norm, eps, num_steps, num_restarts, loss, batch_size, shapes, seed, index : as in
        `autopgd`
    guards : "fast" or "full": checks of images and logits, and that the model is one function of one image;
        "off"
    sample : as in `autopgd`

    Raises
    ------
    EvaluationError : as in `autopgd`; the source has other classes
    """
    settings = AttackSettings(
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        num_restarts=num_restarts,
        loss=loss,
        batch_size=batch_size,
        shapes=shapes,
        seed=seed,
        guards=guards,
        new_rule=auto_rule,
    )
    with prepared(settings, Call(model, images, labels, index, None, source)) as inputs:
        state = inputs.new_state()
        flags = _check(settings, inputs, state, sample)
        for run in range(settings.num_runs(inputs.logits.shape[1])):
            opened = state.open_positions()
            for first in range(0, len(opened), batch_size):
                _attack(settings, inputs, state, opened[first : first + batch_size], run)
    return measured(settings, state, flags)


def _check(
    settings: AttackSettings, inputs: AttackInputs, state: AttackState, sample: Sample | None
) -> list[str]:
    """Refuse, note or flag what can be known before the first step; the model's own gradient is not asked."""
    classes = inputs.gradient_model(inputs.images[:1].to(inputs.exact_model.device)).shape[1]
    if classes != inputs.logits.shape[1]:
        raise EvaluationError(f"source: expected {inputs.logits.shape[1]} classes (found {classes})")
    if settings.guards == "off":
        return []
    check.check_images(inputs.images, inputs.index, state)
    check.check_logits(inputs.logits, inputs.labels, inputs.index, state)
    few = spread_inputs(inputs if sample is None else sampled(inputs, sample))
    check_randomness(few, settings.num_eot)
    check_batch(few, settings.num_eot)
    return [
        *check.check_eps(settings.norm, settings.eps, inputs.images),
        *check.check_autocast(inputs.exact_model.device),
        *check.check_precision(inputs.exact_model.model),
    ]


def _attack(
    settings: AttackSettings, inputs: AttackInputs, state: AttackState, positions: list[int], run: int
) -> None:
    """Climb on the source from one start for each image of a batch, and judge the best points."""
    device, count = inputs.exact_model.device, len(positions)
    size = settings.batch_size if settings.shapes == "one" else batching.shape_for(count, settings.batch_size)
    noise = torch.stack([inputs.noise(settings, position, run) for position in positions])
    ranks = state.targets[positions, run // settings.num_restarts]
    images, labels, targets, start = (
        batching.padded(rows.to(device), size)
        for rows in (state.clean[positions], state.labels[positions], ranks, noise)
    )
    rule = settings.new_rule(settings, images)
    rule.enter(torch.arange(size, device=device), images, start.to(images))
    for step in range(rule.num_points):
        points = rule.points.detach().requires_grad_()
        with torch.enable_grad():
            loss = losses.LOSSES[settings.loss](inputs.gradient_model(points), labels, targets)
            gradient = input_gradient(loss.sum(), points)
        bad = ~(loss.isfinite() & gradient.flatten(1).isfinite().all(1)).cpu()[:count]
        refuse_nonfinite("loss or gradient of the source", bad, state.index[positions])
        rule.advance(images, loss.detach(), gradient, torch.full((size,), step, device=device))
    state.gradient_steps[positions] += rule.num_points
    found = threat.tighten(rule.best_points[:count], images[:count], norm=settings.norm, eps=settings.eps)
    logits = inputs.exact_model.logits(found)
    refuse_nonfinite("logits", ~logits.isfinite().all(1).cpu(), state.index[positions])
    wrong = logits.argmax(1) != labels[:count]
    for rows, keep in ((wrong, state.close), (~wrong, state.survive)):
        where = rows.nonzero().flatten()
        if len(where):
            keep([positions[i] for i in where.tolist()], found[where], logits[where])
