"""AutoAttack's standard version: four attacks, each on what the ones before it left robust.

Croce & Hein 2020 (arXiv 2003.01690): APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB,
Square. The two APGDs are ours; FAB and Square are the package pyautoattack's.
"""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.apgd import autopgd
from robust_transfer.attacks.attack import MAX_TARGETS, AttackResult
from robust_transfer.attacks.evaluate import JUDGE_SHARE
from robust_transfer.attacks.judge import Judge, is_near_tie, refuse_nonfinite
from robust_transfer.attacks.packaged import attack_classes, constant_shape, fab_point, square_point
from robust_transfer.core.numerics import exact_arithmetic
from robust_transfer.models.modes import device_of, eval_mode, kept_state, no_param_grad

CLEAN, CE, TARGETED, FAB, SQUARE = "clean", "apgd-ce", "apgd-t", "fab-t", "square"
STANDARD = (100, 5000)  # steps, queries
# An attack without gradients that breaks more than this share hints at masked gradients (the authors' check).
MAX_BLACK_BOX = 0.002
ROUNDING = 1e-5


@dataclass
class AutoAttackResult(AttackResult):
    """As `AttackResult`; `broken_by` names for each image the attack that broke it.

    broken_by : "apgd-ce", "apgd-t", "fab-t", "square"; "clean" for a clean mistake, "" for a robust image
    gradient_steps : as in `AttackResult`, FAB's included; Square takes none
    """

    broken_by: list[str] = field(default_factory=list)


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str = "l2",
    eps: float = 0.5,
    num_steps: int = 100,
    num_queries: int = 5000,
    batch_size: int = 128,
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    guards: str = "fast",
    gradient_model: nn.Module | None = None,
) -> AutoAttackResult:
    """Attack each image by AutoAttack's standard components until one breaks it; robust means robust to all.

    With fewer than 4 classes the targeted DLR loss is undefined: that attack is left out and a flag says so.

    Note: an image's result does not depend on the other images. Noise of the APGDs and what Square draws for
    an image is keyed by (seed, index); the places of Square's squares are shared by all images and keyed by
    the seed; FAB draws nothing. Forward passes have one constant shape, so that only rounding is left. The
    authors' code seeds anew for every batch.

    Parameters
    ----------
    model, images, labels, norm, eps, batch_size, index, gradient_model : as in `autopgd`
    num_steps : steps of both APGDs and of FAB
    num_queries : forward passes of Square; other numbers than AutoAttack's 100 and 5000 are flagged
    guards : of the first attack, which sees all images; the others attack the same model

    Raises
    ------
    EvaluationError : as in `autopgd`; the package pyautoattack is missing
    """
    attack_classes()
    apgd = partial(
        autopgd,
        model,
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        batch_size=batch_size,
        seed=seed,
        gradient_model=gradient_model,
    )
    first = apgd(images, labels, index=index, guards=guards, loss="ce")
    names = torch.arange(len(images)) if index is None else torch.as_tensor(index).cpu()
    state = _State(first, images.detach(), labels, names, norm=norm, eps=eps)
    flags = list(first.flags)
    if (num_steps, num_queries) != STANDARD:
        flags.append(f"not_standard: {num_steps} steps, {num_queries} queries (AutoAttack's: 100, 5000)")
    num_classes = _num_classes(model, images, batch_size)
    if num_classes < 4:
        flags.append(f"few_classes: targeted DLR needs 4 classes (found {num_classes}) and was left out")
    elif opened := state.open():
        again = partial(apgd, index=names[opened], guards="off", loss="dlr_targeted")
        state.merge(opened, again(images[opened], labels[opened]))
    hunter = _Hunter(model, gradient_model or model, state, batch_size=batch_size, num_classes=num_classes)
    hunter.run(num_steps=num_steps, num_queries=num_queries, seed=seed)
    flags += _black_box(state.broken_by, len(images))
    result = {name: value for name, value in vars(first).items() if name != "flags"}
    return AutoAttackResult(**result, flags=flags, broken_by=state.broken_by)


def _num_classes(model: nn.Module, images: Tensor, batch_size: int) -> int:
    with torch.no_grad(), eval_mode(model), kept_state(model):
        judge = Judge(model, size=batch_size, device=device_of(model, images.device))
        return judge.logits(images[:1]).shape[1]


def _black_box(broken_by: list[str], count: int) -> list[str]:
    number = broken_by.count(SQUARE)
    if number <= MAX_BLACK_BOX * count:
        return []
    return [f"black_box: Square broke {number} of {count} images that withstood every gradient attack"]


class _State:
    """The result so far, improved in place by each attack; nothing reopens a broken image."""

    def __init__(
        self, result: AttackResult, images: Tensor, labels: Tensor, names: Tensor, *, norm: str, eps: float
    ) -> None:
        self.result, self.images, self.labels, self.names = result, images, labels, names
        self.norm, self.eps = norm, eps
        correct = result.clean_prediction == labels.cpu()
        self.broken_by = [
            "" if robust else CE if right else CLEAN
            for robust, right in zip(result.robust.tolist(), correct.tolist(), strict=True)
        ]

    def open(self) -> list[int]:
        """Return the positions of the images that are still robust."""
        return self.result.robust.nonzero().flatten().tolist()

    def merge(self, positions: list[int], found: AttackResult) -> None:
        """Take in the targeted APGD's result of some images."""
        mine = self.result
        mine.gradient_steps[positions] += found.gradient_steps
        mine.near_tie[positions] = torch.where(
            found.robust, mine.near_tie[positions] | found.near_tie, found.near_tie
        )
        better = (~found.robust | (found.loss > mine.loss[positions])).nonzero().flatten().tolist()
        into = [positions[i] for i in better]
        for name in ("images", "adversarial_prediction", "distance", "loss"):
            getattr(mine, name)[into] = getattr(found, name)[better]
        self._break([positions[i] for i in (~found.robust).nonzero().flatten().tolist()], TARGETED)

    def judge(self, judge: Judge, positions: list[int], points: Tensor, attack: str) -> None:
        """Close the images whose point lies in the ball and is misclassified by the unmodified model."""
        centers = self.images[positions].to(points.device)
        inside = threat.distances(points, centers, norm=self.norm) <= self.eps * (1 + ROUNDING)
        kept = inside.nonzero().flatten().tolist()
        if not kept:
            return
        points = threat.tighten(points[kept], centers[kept], norm=self.norm, eps=self.eps)
        where = [positions[i] for i in kept]
        logits = judge.logits(points).float().cpu()
        refuse_nonfinite("logits", ~logits.isfinite().all(1), self.names[where])
        labels, mine = self.labels[where].cpu(), self.result
        wrong = (logits.argmax(1) != labels).nonzero().flatten().tolist()
        into = [where[i] for i in wrong]
        mine.images[into] = points[wrong].to(mine.images)
        mine.adversarial_prediction[into] = logits.argmax(1)[wrong]
        mine.distance[into] = threat.distances(points, centers[kept], norm=self.norm).cpu()[wrong]
        mine.loss[into] = losses.cross_entropy(logits, labels, labels)[wrong]
        mine.near_tie[into] = is_near_tie(logits, labels)[wrong]
        self._break(into, attack)

    def _break(self, positions: list[int], attack: str) -> None:
        self.result.robust[positions] = False
        for position in positions:
            self.broken_by[position] = attack


class _Hunter:
    """Runs the package's attacks on the images that are left, a batch at a time."""

    def __init__(
        self, model: nn.Module, gradient_model: nn.Module, state: _State, *, batch_size: int, num_classes: int
    ) -> None:
        self.model, self.gradient_model, self.state = model, gradient_model, state
        self.batch_size = batch_size
        self.ranks = range(2, 2 + min(MAX_TARGETS, num_classes - 1))
        self.predict = constant_shape(gradient_model, batch_size)

    def run(self, *, num_steps: int, num_queries: int, seed: int) -> None:
        """FAB on the survivors, then Square on the survivors of that."""
        models = (self.model, self.gradient_model)
        device = device_of(self.model, self.state.images.device)
        judge = Judge(self.model, size=max(1, self.batch_size // JUDGE_SHARE), device=device)
        with (
            torch.no_grad(),
            kept_state(self.model),
            eval_mode(*models),
            no_param_grad(*models),
            exact_arithmetic(device),
        ):
            for batch in self._batches():
                self._fab(judge, batch, num_steps)
            for batch in self._batches():
                self._square(judge, batch, num_queries, seed)

    def _batches(self) -> list[list[int]]:
        opened = self.state.open()
        return [opened[first : first + self.batch_size] for first in range(0, len(opened), self.batch_size)]

    def _fab(self, judge: Judge, positions: list[int], num_steps: int) -> None:
        state = self.state
        for rank in self.ranks:
            positions = [position for position in positions if state.result.robust[position]]
            if not positions:
                return
            self._attack(judge, positions, FAB, fab_point, num_steps=num_steps, rank=rank)
            state.result.gradient_steps[positions] += num_steps

    def _square(self, judge: Judge, positions: list[int], num_queries: int, seed: int) -> None:
        index = self.state.names[positions].tolist()
        self._attack(judge, positions, SQUARE, square_point, num_queries=num_queries, seed=seed, index=index)

    def _attack(
        self,
        judge: Judge,
        positions: list[int],
        name: str,
        point: Callable[..., Tensor],
        **settings: Any,
    ) -> None:
        state = self.state
        images, labels = (every[positions].to(judge.device) for every in (state.images, state.labels))
        points = point(self.predict, images, labels, norm=state.norm, eps=state.eps, **settings)
        state.judge(judge, positions, points, name)
