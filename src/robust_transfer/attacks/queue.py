"""A batch of constant shape that images leave when they are fooled and waiting ones enter."""

# B slots of the batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.attack import Attack
from robust_transfer.attacks.judge import Judge, is_near_tie, refuse_nonfinite
from robust_transfer.attacks.ledger import Ledger
from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.numerics import exact_arithmetic

SettledPositions = Callable[[list[int]], None]
# A gradient shorter than this loses more than a hundredth of its unit length to `threat.TINY`.
SHORTEST_GRADIENT = 100 * threat.TINY


@dataclass
class Run:
    """One image's run in a slot: which image, which of its runs, how many points visited, how many dead."""

    position: int
    number: int
    step: int = 0
    num_dead_steps: int = 0


@dataclass(frozen=True)
class Pass:
    """What one forward+backward pass says of every slot."""

    loss: Tensor
    gradients: Tensor
    wrong: Tensor
    tie: Tensor
    dead: Tensor
    nonfinite: Tensor


def run_queue(
    attack: Attack,
    *,
    judge: Judge,
    gradient_model: nn.Module,
    ledger: Ledger,
    positions: list[int],
    noise: Callable[[int, int], Tensor],
    on_settled: SettledPositions,
) -> None:
    """Attack the images at `positions` and write the outcomes to the ledger.

    Every forward pass of `gradient_model` has `attack.batch_size` images: at the end of the queue old ones
    fill it up, unread. So those that will take longest go first, and an image that survives a run begins its
    next one at once: whoever enters last is soon gone. The order changes no outcome.

    Parameters
    ----------
    judge : confirms every hit; a hit of the gradient model that it denies stays in the batch
    noise : (position, number of the run) -> standard normal (C, H, W) on the CPU
    on_settled : told, while others are still attacked, the positions whose outcome is final
    """
    if positions:
        Queue(attack, judge, gradient_model, ledger, noise, on_settled, positions).drain()


class Queue:
    """The slots of the batch, and who waits for one."""

    def __init__(
        self,
        attack: Attack,
        judge: Judge,
        gradient_model: nn.Module,
        ledger: Ledger,
        noise: Callable[[int, int], Tensor],
        on_settled: SettledPositions,
        positions: list[int],
    ) -> None:
        self.attack, self.judge, self.model = attack, judge, gradient_model
        self.ledger, self.noise, self.on_settled = ledger, noise, on_settled
        self.settled: list[int] = []
        self.num_runs = attack.num_runs(ledger.targets.shape[1])
        self.waiting = deque(Run(position, 0) for position in ledger.longest_first(positions))
        self.slots: list[Run | None] = [None] * attack.batch_size
        # Slots without a run hold a real image, so that no layer sees anything it would not see otherwise.
        first = ledger.clean[positions[0]].to(judge.device)
        self.images = first.expand(attack.batch_size, *first.shape).clone()
        self.labels, self.targets = (torch.zeros(len(self.images), dtype=torch.int64) for _ in range(2))
        self.labels, self.targets = self.labels.to(judge.device), self.targets.to(judge.device)
        self.rule = attack.new_rule(attack, self.images)

    def drain(self) -> None:
        """Run until nobody is in the batch and nobody waits."""
        while self._admit():
            # Never the last ones: what the guards find after them can still refuse the whole.
            if self.settled:
                self.on_settled(self.settled)
                self.settled = []
            outcome = self._differentiate()
            wrong, tie, dead, nonfinite = torch.stack(
                [outcome.wrong, outcome.tie, outcome.dead, outcome.nonfinite]
            ).cpu()
            self._check_finite(nonfinite)
            self._count(tie, dead)
            # Denied hits go on: the gradient model was wrong about them.
            self._confirm([slot for slot, _ in self._runs() if wrong[slot]], self.rule.points)
            step = torch.tensor([run.step if run else 0 for run in self.slots], device=self.images.device)
            self.rule.advance(self.images, outcome.loss, outcome.gradients, step)
            self._release_finished()

    def _runs(self) -> list[tuple[int, Run]]:
        return [(slot, run) for slot, run in enumerate(self.slots) if run is not None]

    def _admit(self) -> bool:
        """Fill empty slots from the queue; return whether any slot is taken."""
        empty = [slot for slot, run in enumerate(self.slots) if run is None]
        entering = [(slot, self.waiting.popleft()) for slot in empty[: len(self.waiting)]]
        if entering:
            device = self.images.device
            slots = torch.tensor([slot for slot, _ in entering], device=device)
            positions = [run.position for _, run in entering]
            images = self.ledger.clean[positions].to(device)
            noise = images
            if self.rule.needs_noise:
                noise = torch.stack([self.noise(run.position, run.number) for _, run in entering])
            self.rule.enter(slots, images, noise.to(images))
            self.images[slots] = images
            self.labels[slots] = self.ledger.labels[positions].to(device)
            ranks = [run.number // self.attack.num_restarts for _, run in entering]
            self.targets[slots] = self.ledger.targets[positions, ranks].to(device)
            for slot, run in entering:
                self.slots[slot] = run
        return any(self.slots)

    def _differentiate(self) -> Pass:
        """Take the loss, its input gradient (the mean of `num_eot`) and what they say of each slot."""
        exact = self.model is self.judge.model
        gradients = torch.zeros_like(self.images)
        for _ in range(self.attack.num_eot):
            points = self.rule.points.detach().requires_grad_()
            with torch.enable_grad(), exact_arithmetic(points.device) if exact else nullcontext():
                logits = self.model(points)
                loss = losses.LOSSES[self.attack.loss](logits, self.labels, self.targets)
                # A sum, so that the gradient of an image does not depend on the batch.
                gradients += input_gradient(loss.sum(), points)
        gradients /= self.attack.num_eot
        logits, loss = logits.detach().float(), loss.detach()
        length = threat.l2_norms(gradients).flatten()
        dead = length < SHORTEST_GRADIENT
        if self.attack.loss == "ce":
            dead |= loss == 0
        return Pass(
            loss=loss,
            gradients=gradients,
            wrong=logits.argmax(1) != self.labels,
            tie=is_near_tie(logits, self.labels),
            dead=dead,
            nonfinite=~(torch.isfinite(length) & torch.isfinite(loss) & torch.isfinite(logits).all(1)),
        )

    def _check_finite(self, nonfinite: Tensor) -> None:
        taken = [slot for slot, _ in self._runs()]
        positions = [run.position for _, run in self._runs()]
        refuse_nonfinite("logits, loss or gradient", nonfinite[taken], self.ledger.index[positions])

    def _count(self, tie: Tensor, dead: Tensor) -> None:
        slots = [slot for slot, _ in self._runs()]
        positions = [run.position for _, run in self._runs()]
        self.ledger.gradient_steps[positions] += self.attack.num_eot
        self.ledger.near_tie[positions] |= tie[slots]
        for (_, run), is_dead in zip(self._runs(), dead[slots].tolist(), strict=True):
            run.num_dead_steps += is_dead

    def _release_finished(self) -> None:
        """Move every run on by a step; let go those past their last point and queue their next runs."""
        for _, moving in self._runs():
            moving.step += 1
        finished = [slot for slot, run in self._runs() if run.step > self.attack.num_steps]
        # The best point was right for the gradient model, but the judge may still find it wrong.
        for slot, point, logits in self._confirm(finished, self.rule.best_points):
            run = self.slots[slot]
            assert run is not None
            self.ledger.survive([run.position], point, logits)
            self.ledger.num_runs[run.position] += 1
            self.ledger.num_dead_runs[run.position] += 2 * run.num_dead_steps >= run.step
            if run.number + 1 < self.num_runs:
                self.waiting.appendleft(Run(run.position, run.number + 1))
            elif not self.ledger.dead()[run.position]:
                self.settled.append(run.position)
            self.slots[slot] = None

    def _confirm(self, slots: list[int], points: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """Close the images whose point the judge misclassifies; return slot, point, logits of the others."""
        if not slots:
            return []
        taken = dict(self._runs())
        positions = [taken[slot].position for slot in slots]
        points = threat.tighten(points[slots], self.images[slots], norm=self.attack.norm, eps=self.attack.eps)
        logits = self.judge.logits(points)
        refuse_nonfinite("logits", ~torch.isfinite(logits).all(1).cpu(), self.ledger.index[positions])
        wrong = (logits.argmax(1) != self.labels[slots]).tolist()
        denied = []
        for i, slot in enumerate(slots):
            if wrong[i]:
                self.ledger.close(positions[i : i + 1], points[i : i + 1], logits[i : i + 1])
                self.settled.append(positions[i])
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
