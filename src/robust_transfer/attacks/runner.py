"""The active set: a batch that images leave when they are fooled and waiting ones enter."""

# N images, B slots of the batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.exact import ExactModel, refuse_nonfinite
from robust_transfer.attacks.model import LogitModel
from robust_transfer.attacks.one_graph import gradient_graph
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackState, is_near_tie
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.numerics import exact_arithmetic
from robust_transfer.models import batching

# A gradient shorter than this loses more than a hundredth of its unit length to `threat.TINY`.
SHORTEST_GRADIENT = 100 * threat.TINY

FinalisedPositions = Callable[[list[int]], None]
"""Told, while others are still attacked, the positions whose outcome is final."""


@dataclass(frozen=True, kw_only=True)
class AttackInputs:
    """The images (N, C, H, W) under attack, their labels, names and clean logits (N, K), and the model.

    exact_model : confirms every hit; a hit of the gradient model that it denies stays in the batch
    gradient_model : computes the attack's gradients; the exact model's own, or a faster copy
    start_noise : (num_restarts, N, C, H, W) standard normal, in place of the noise keyed by `index`
    """

    exact_model: ExactModel
    gradient_model: LogitModel
    images: Tensor
    labels: Tensor
    index: Tensor
    logits: Tensor
    start_noise: Tensor | None

    def correct_positions(self) -> list[int]:
        """Return the positions of the correctly classified images."""
        return (self.logits.argmax(1).cpu() == self.labels.cpu()).nonzero().flatten().tolist()

    def subset(self, positions: list[int]) -> AttackInputs:
        """Return the inputs of some of the images; each keeps its name and so its noise."""
        where = torch.tensor(positions)
        return replace(
            self,
            images=self.images[where.to(self.images.device)],
            labels=self.labels[where.to(self.labels.device)],
            index=self.index[where],
            logits=self.logits[where.to(self.logits.device)],
            start_noise=None if self.start_noise is None else self.start_noise[:, where],
        )

    def new_state(self) -> AttackState:
        """Return the images' state before any attack."""
        arithmetic = self.exact_model.model.dtypes()
        return AttackState(self.images, self.labels, self.index, self.logits, arithmetic)

    def noise(self, settings: AttackSettings, position: int, run: int) -> Tensor:
        """Return the standard normal noise (C, H, W) of an image's run, on the CPU."""
        if self.start_noise is not None:
            return self.start_noise[run % settings.num_restarts, position]
        name = int(self.index[position])
        return rng.normal(self.images.shape[1:], settings.seed, "attack_start", name, run)


def attack_all(settings: AttackSettings, inputs: AttackInputs) -> AttackState:
    """Attack all correctly classified images and return what became of each."""
    state = inputs.new_state()
    run_attack(settings, inputs, state, state.open_positions())
    return state


def run_attack(
    settings: AttackSettings,
    inputs: AttackInputs,
    state: AttackState,
    positions: list[int],
    on_finalised: FinalisedPositions | None = None,
) -> None:
    """Attack those of the images that stand at `positions` and write the outcomes to the state.

    A forward pass of the gradient model has as many images as the ladder of shapes allows; what is missing to
    a rung is filled up with old ones, unread. So those that will take longest go first, and an image that
    survives a run begins its next one at once: whoever enters last is soon gone. The order changes nothing.
    """
    if positions:
        Runner(settings, inputs, state, positions, on_finalised).run()


@dataclass
class Run:
    """One image's run in a slot: which image, which of its runs, how many points visited and vanished."""

    position: int
    number: int
    step: int = 0
    num_vanished: int = 0


@dataclass(frozen=True)
class Pass:
    """What one forward+backward pass says of every slot."""

    loss: Tensor
    gradients: Tensor
    wrong: Tensor
    near_tie: Tensor
    vanished: Tensor
    nonfinite: Tensor


class Runner:
    """The slots of the batch, and who waits for one."""

    def __init__(
        self,
        settings: AttackSettings,
        inputs: AttackInputs,
        state: AttackState,
        positions: list[int],
        on_finalised: FinalisedPositions | None,
    ) -> None:
        self.settings, self.inputs, self.state, self.on_finalised = settings, inputs, state, on_finalised
        self.finalised: list[int] = []
        self.num_runs = settings.num_runs(state.targets.shape[1])
        self.waiting = deque(Run(position, 0) for position in state.by_margin(positions))
        size = settings.batch_size
        if settings.shapes == "ladder":
            size = batching.shape_for(len(positions), size)
        self.slots: list[Run | None] = [None] * size
        # Slots without a run hold a real image, so that no layer sees anything it would not see otherwise.
        device = inputs.exact_model.device
        first = state.clean[positions[0]].to(device)
        self.images = first.expand(size, *first.shape).clone()
        self.labels, self.targets = (torch.zeros(size, dtype=torch.int64, device=device) for _ in range(2))
        self.moved = torch.zeros(size, dtype=torch.bool, device=device)
        self.rule = settings.new_rule(settings, self.images)

    def run(self) -> None:
        """Attack until nobody is in the batch and nobody waits."""
        while self._fill_slots():
            self._shrink()
            # Never the last ones: what the guards find after them can still refuse the whole.
            if self.finalised and self.on_finalised is not None:
                self.on_finalised(self.finalised)
            self.finalised = []
            outcome = self._differentiate()
            wrong, near_tie, vanished, nonfinite = torch.stack(
                [outcome.wrong, outcome.near_tie, outcome.vanished, outcome.nonfinite]
            ).cpu()
            self._check_finite(nonfinite)
            counted = [slot for slot, run in self._runs() if run.step >= self.rule.first_counted]
            self._count(near_tie, vanished, counted)
            # Denied hits go on: the gradient model was wrong about them.
            self._confirm([slot for slot in counted if wrong[slot]], self.rule.points)
            step = torch.tensor([run.step if run else 0 for run in self.slots], device=self.images.device)
            before = self.rule.points
            self.rule.advance(self.images, outcome.loss, outcome.gradients, step)
            self.moved |= (self.rule.points != before).flatten(1).any(1)
            self._release_finished()

    def _runs(self) -> list[tuple[int, Run]]:
        return [(slot, run) for slot, run in enumerate(self.slots) if run is not None]

    def _fill_slots(self) -> bool:
        """Let waiting runs into empty slots; return whether any slot is taken."""
        empty = [slot for slot, run in enumerate(self.slots) if run is None]
        entering = [(slot, self.waiting.popleft()) for slot in empty[: len(self.waiting)]]
        if entering:
            self._enter(entering)
        return any(self.slots)

    def _shrink(self) -> None:
        """Go down the ladder of shapes once nobody waits."""
        taken = [slot for slot, _ in self._runs()]
        size = batching.shape_for(len(taken), self.settings.batch_size)
        if self.settings.shapes == "one" or self.waiting or size >= len(self.slots):
            return
        free = [slot for slot, run in enumerate(self.slots) if run is None]
        kept = taken + free[: size - len(taken)]
        where = torch.tensor(kept, device=self.images.device)
        self.images, self.labels, self.targets = self.images[where], self.labels[where], self.targets[where]
        self.moved = self.moved[where]
        self.rule.keep(where)
        self.slots = [self.slots[slot] for slot in kept]

    def _enter(self, entering: list[tuple[int, Run]]) -> None:
        device = self.images.device
        slots = torch.tensor([slot for slot, _ in entering], device=device)
        positions = [run.position for _, run in entering]
        images = self.state.clean[positions].to(device)
        noise = images
        if self.rule.needs_noise:
            noise = torch.stack(
                [self.inputs.noise(self.settings, run.position, run.number) for _, run in entering]
            )
        self.rule.enter(slots, images, noise.to(images))
        self.images[slots] = images
        self.moved[slots] = False
        self.labels[slots] = self.state.labels[positions].to(device)
        ranks = [run.number // self.settings.num_restarts for _, run in entering]
        self.targets[slots] = self.state.targets[positions, ranks].to(device)
        for slot, run in entering:
            self.slots[slot] = run

    def _differentiate(self) -> Pass:
        """Take the loss, its input gradient and what they say of each slot."""
        logits, loss, gradients = self._logits_loss_and_gradients()
        length = threat.l2_norms(gradients).flatten()
        vanished = length < SHORTEST_GRADIENT
        if self.settings.loss == "ce":
            vanished |= loss == 0
        return Pass(
            loss=loss,
            gradients=gradients,
            wrong=logits.argmax(1) != self.labels,
            near_tie=is_near_tie(logits, self.labels),
            vanished=vanished,
            nonfinite=~(torch.isfinite(length) & torch.isfinite(loss) & torch.isfinite(logits).all(1)),
        )

    def _logits_loss_and_gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        model, points = self.inputs.gradient_model, self.rule.points.detach()
        if graph := gradient_graph(model, self.settings.loss, points, self.labels, self.targets):
            logits, loss, gradients = graph(points, self.labels, self.targets)
            return logits.float(), loss, gradients
        exact = model is self.inputs.exact_model.model
        points.requires_grad_()
        with torch.enable_grad(), exact_arithmetic(points.device) if exact else nullcontext():
            logits = model(points)
            loss = losses.LOSSES[self.settings.loss](logits, self.labels, self.targets)
            # A sum, so that the gradient of an image does not depend on the batch.
            gradients = input_gradient(loss.sum(), points)
        return logits.detach().float(), loss.detach(), gradients

    def _check_finite(self, nonfinite: Tensor) -> None:
        taken = [slot for slot, _ in self._runs()]
        positions = [run.position for _, run in self._runs()]
        refuse_nonfinite("logits, loss or gradient", nonfinite[taken], self.state.index[positions])

    def _count(self, near_tie: Tensor, vanished: Tensor, counted: list[int]) -> None:
        slots = [slot for slot, _ in self._runs()]
        self.state.gradient_steps[[run.position for _, run in self._runs()]] += 1
        taken = dict(self._runs())
        self.state.near_tie[[taken[slot].position for slot in counted]] |= near_tie[counted]
        for (_, run), has_vanished in zip(self._runs(), vanished[slots].tolist(), strict=True):
            run.num_vanished += has_vanished

    def _release_finished(self) -> None:
        """Move every run on by a step; let go those past their last point and queue their next runs."""
        for _, moving in self._runs():
            moving.step += 1
        finished = [slot for slot, run in self._runs() if run.step >= self.rule.num_points]
        # The best point was correct for the gradient model, but the exact model may still find it wrong.
        for slot, point, logits in self._confirm(finished, self.rule.best_points):
            run = self.slots[slot]
            assert run is not None
            self.state.survive([run.position], point, logits)
            self.state.num_runs[run.position] += 1
            self.state.num_vanished_runs[run.position] += 2 * run.num_vanished >= run.step
            self.state.num_still_runs[run.position] += not self.moved[slot]
            if run.number + 1 < self.num_runs:
                self.waiting.appendleft(Run(run.position, run.number + 1))
            elif not (self.state.vanished() | self.state.still())[run.position]:
                self.finalised.append(run.position)
            self.slots[slot] = None

    def _confirm(self, slots: list[int], points: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """Close the images whose point the exact model misclassifies; return the others.

        A list of slot, point (1, C, H, W) and logits (1, K).
        """
        if not slots:
            return []
        taken = dict(self._runs())
        positions = [taken[slot].position for slot in slots]
        points = threat.tighten(
            points[slots], self.images[slots], norm=self.settings.norm, eps=self.settings.eps
        )
        logits = self.inputs.exact_model.logits(points)
        refuse_nonfinite("logits", ~torch.isfinite(logits).all(1).cpu(), self.state.index[positions])
        wrong = (logits.argmax(1) != self.labels[slots]).tolist()
        denied = []
        for i, slot in enumerate(slots):
            if wrong[i]:
                self.state.close(positions[i : i + 1], points[i : i + 1], logits[i : i + 1])
                self.finalised.append(positions[i])
                self.slots[slot] = None
            else:
                denied.append((slot, points[i : i + 1], logits[i : i + 1]))
        return denied


def input_gradient(loss: Tensor, points: Tensor) -> Tensor:
    """Return the gradient of a scalar loss with respect to the points; refuse a model that cuts the graph."""
    gradient = torch.autograd.grad(loss, points, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise EvaluationError(
            "gradient: the logits do not depend on the image through autograd (expected a differentiable "
            "model, found a detached one)",
            "remove detach(), no_grad, inference_mode from forward, or attack a differentiable copy (BPDA)",
        )
    return gradient.detach()
