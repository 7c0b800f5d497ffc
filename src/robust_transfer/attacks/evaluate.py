"""The frame of every evaluation: guards before, the queue, guards after, and a result measured anew."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robust_transfer.attacks import guards as guard
from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.attack import Attack, AttackResult, OnSettled
from robust_transfer.attacks.judge import Judge
from robust_transfer.attacks.ledger import Ledger
from robust_transfer.attacks.probes import probe
from robust_transfer.attacks.saturation import attack_dead_again
from robust_transfer.attacks.second_opinions import second_opinions
from robust_transfer.attacks.trial import Trial
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.modes import device_of, eval_mode, kept_state, no_param_grad

# Hits come a few at a time: a judge so many times smaller than the batch wastes little on padding.
JUDGE_SHARE = 8
ALL = slice(None)


def evaluate(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    index: Tensor | Sequence[int] | None,
    start_noise: Tensor | None,
    guards: str,
    gradient_model: nn.Module | None,
    on_settled: OnSettled | None,
) -> AttackResult:
    """Run one attack on all images under the guards of a level; see `autopgd` for the parameters."""
    guard.check_level(guards)
    guard.check_shapes(images, labels)
    names = _names(index, len(images))
    _check_noise(start_noise, (attack.num_restarts, *images.shape))
    fast_model = model if gradient_model is None else gradient_model
    with (
        torch.no_grad(),
        kept_state(model) as moved,
        eval_mode(model, fast_model),
        no_param_grad(model, fast_model),
    ):
        with kept_state(model) as moved_by_clean_pass:
            device = device_of(model, images.device)
            logits = Judge(model, size=attack.batch_size, device=device).logits(images)
        guard.check_classes(labels, logits)
        losses.check_loss(attack.loss, logits.shape[1])
        trial = Trial(
            judge=Judge(model, size=max(1, attack.batch_size // JUDGE_SHARE), device=device),
            gradient_model=fast_model,
            images=images.detach(),
            labels=labels,
            index=names,
            logits=logits,
            start_noise=start_noise,
        )
        flags: list[str] = []
        if guards != "off":
            guard.check_state(moved_by_clean_pass)
            flags += guard.check_images(images, names) + guard.check_eps(attack.norm, attack.eps, images)
            flags += guard.check_autocast(device)
            guard.check_logits(logits, names)
            flags += probe(trial, attack)
        ledger = trial.new_ledger()

        def settle(positions: list[int]) -> None:
            # Under "full", what the other attacks find comes after the last image: nothing is told before.
            if on_settled is not None and guards != "full":
                on_settled(positions, _result(attack, ledger, flags, guards, positions))

        trial.go_on(attack, ledger, ledger.open_positions(), settle)
        if guards != "off":
            flags += attack_dead_again(trial, attack, ledger)
        if guards == "full":
            flags += second_opinions(trial, attack, ledger)
    if guards != "off":
        guard.check_state(moved)
    return _result(attack, ledger, flags, guards)


def _result(
    attack: Attack,
    ledger: Ledger,
    flags: list[str],
    guards: str,
    positions: list[int] | slice = ALL,
) -> AttackResult:
    """Measure the distances from the images that are handed out, and sum up."""
    images = ledger.images[positions]
    distances = threat.distances(images, ledger.clean[positions], norm=attack.norm).cpu()
    guard.check_distances(distances, eps=attack.eps, index=ledger.index[positions])
    wrong = ledger.clean_prediction[positions] != ledger.labels[positions]
    return AttackResult(
        images=images,
        robust=ledger.robust[positions],
        clean_prediction=ledger.clean_prediction[positions],
        adversarial_prediction=ledger.adversarial_prediction[positions],
        distance=distances,
        loss=ledger.loss[positions],
        gradient_steps=ledger.gradient_steps[positions],
        near_tie=ledger.near_tie[positions],
        flags=list(flags),
        record={
            "guards": guards,
            "arithmetic": "hits judged in float32, TF32 off",
            "num_near_ties": int(ledger.near_tie[positions].sum()),
            "num_clean_mistakes": int(wrong.sum()),
            "largest_distance": float(distances.max()),
            "adaptive_attack": "none",
        },
    )


def _names(index: Tensor | Sequence[int] | None, count: int) -> Tensor:
    names = torch.arange(count) if index is None else torch.as_tensor(index).cpu()
    if names.shape != (count,) or names.is_floating_point() or len(names.unique()) < count:
        raise EvaluationError(
            f"index: expected {count} different integers (found {tuple(names.shape)} {names.dtype})"
        )
    return names


def _check_noise(noise: Tensor | None, shape: tuple[int, ...]) -> None:
    if noise is not None and noise.shape != shape:
        raise EvaluationError(
            f"start_noise: expected {shape}, (num_restarts, B, C, H, W) (found {tuple(noise.shape)})"
        )
