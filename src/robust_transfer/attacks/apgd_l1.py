"""Auto-PGD for the L1 ball within the box: steps along few values of the gradient, in balls that shrink.

Croce & Hein 2021, "Mind the box" (arXiv 2103.01208), Algorithm 1 and section 3.3, as their code runs it.
"""

# B batch, C channels, H/W pixels

from __future__ import annotations

import math

import torch
from torch import Tensor

from robust_transfer.attacks import threat
from robust_transfer.attacks.rule import Rule
from robust_transfer.attacks.settings import AttackSettings

# A run begins in balls of three and two times the radius; a share of the steps is spent in each.
STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
WINDOW = 0.04  # of a stage's steps, after which step and sparsity are adapted
# The next steps move two thirds as many values as the best point has moved.
SPARSER = 1.5
SETTLED = 0.95  # the best point has as many moved values as at the last check, or nearly
SMALLEST_STEP = 0.1  # of the radius


def stage_steps(num_steps: int) -> list[int]:
    """Return how many of the steps each stage takes."""
    first = [math.ceil(share * num_steps) for _, share in STAGES[:-1]]
    return [*first, num_steps - sum(first)]


class SparseSteps(Rule):
    """The rule of APGD for L1: a stage visits one point more than it takes steps, and has no momentum."""

    per_slot = ("points", "best_points", "best_gradient", "best_loss", "step_size", "share", "moved_at_check")
    needs_noise = True

    def __init__(self, settings: AttackSettings, batch: Tensor) -> None:
        steps = stage_steps(settings.num_steps)
        self.num_points = settings.num_steps + len(STAGES)
        self.first_counted = self.num_points - steps[-1] - 1
        self.num_values = batch[0].numel()
        self.timetable = _Timetable(settings.eps, steps, batch.device)
        self.points, self.best_points, self.best_gradient = (batch.clone() for _ in range(3))
        zeros = torch.zeros(len(batch), device=batch.device)
        self.best_loss, self.step_size, self.share, self.moved_at_check = (zeros.clone() for _ in range(4))

    def enter(self, slots: Tensor, images: Tensor, noise: Tensor) -> None:
        """Start at noise that is projected to the largest ball."""
        start = threat.start_points(images, noise, norm="l1", eps=float(self.timetable.radius[0]))
        self.points[slots] = start
        self._begin(slots, images, self.timetable.radius[:1].expand(len(slots)))

    def advance(self, images: Tensor, losses: Tensor, gradients: Tensor, step: Tensor) -> None:
        """Keep the best point, adapt step and sparsity at a check, and move; or begin the next stage."""
        better = losses > self.best_loss
        self.best_points = torch.where(threat.wide(better), self.points, self.best_points)
        self.best_gradient = torch.where(threat.wide(better), gradients, self.best_gradient)
        self.best_loss = torch.where(better, losses, self.best_loss)

        radius = self.timetable.radius[step]
        back = self._check(images, radius, self.timetable.checked[step])
        here = torch.where(threat.wide(back), self.best_points, self.points)
        gradients = torch.where(threat.wide(back), self.best_gradient, gradients)
        ahead = here + threat.wide(self.step_size) * sparse_direction(gradients, self.share)
        last = self.timetable.last[step]
        ahead = torch.where(threat.wide(last), self.best_points, ahead)
        # The last point of a stage goes on in the next one's ball.
        radius = self.timetable.radius[(step + 1).clamp(max=self.num_points - 1)]
        self.points = threat.project(ahead, images, norm="l1", eps=threat.wide(radius))
        slots = (last & (step + 1 < self.num_points)).nonzero().flatten()
        self._begin(slots, images[slots], radius[slots])

    def _begin(self, slots: Tensor, images: Tensor, radius: Tensor) -> None:
        """Begin a stage in `slots` (S,) at the points there, around images (S, C, H, W)."""
        moved = count_moved(self.points[slots], images)
        self.best_loss[slots] = -torch.inf
        self.step_size[slots] = radius
        self.moved_at_check[slots] = moved
        self.share[slots] = moved / self.num_values / SPARSER

    def _check(self, images: Tensor, radius: Tensor, checked: Tensor) -> Tensor:
        """Adapt step and sparsity at a check; return which slots go back to their best point: (B,) bool."""
        moved = count_moved(self.best_points, images)
        sparser = moved / self.moved_at_check < SETTLED
        step = torch.where(sparser, radius, (self.step_size / SPARSER).clamp(min=SMALLEST_STEP * radius))
        self.step_size = torch.where(checked, torch.minimum(step, radius), self.step_size)
        self.share = torch.where(checked, moved / self.num_values / SPARSER, self.share)
        self.moved_at_check = torch.where(checked, moved, self.moved_at_check)
        return checked & sparser


class _Timetable:
    """Of each visited point: its ball's radius, whether a check follows it, whether a stage ends at it."""

    def __init__(self, eps: float, steps: list[int], device: torch.device) -> None:
        radii: list[float] = []
        checked: list[bool] = []
        last: list[bool] = []
        for (times, _), count in zip(STAGES, steps, strict=True):
            window = max(int(WINDOW * count), 1)
            radii += [times * eps] * (count + 1)
            checked += [step > 0 and step % window == 0 for step in range(count + 1)]
            last += [step == count for step in range(count + 1)]
        self.radius = torch.tensor(radii, device=device)
        self.checked, self.last = (torch.tensor(column, device=device) for column in (checked, last))


def sparse_direction(gradients: Tensor, share: Tensor) -> Tensor:
    """Return signs of each gradient's largest values, scaled to unit L1 length: (B, C, H, W).

    share : (B,): of the values, how many are kept
    """
    size = gradients.flatten(1).abs()
    count = size.shape[1]
    place = count - 1 - ((1 - share) * count).clamp(0, count - 1).long().view(-1, 1)
    least = size.topk(int(place.max()) + 1).values.gather(1, place)
    signs = torch.where(size >= least, gradients.flatten(1).sign(), 0.0)
    return (signs / (signs.abs().sum(1, keepdim=True) + 1e-10)).view_as(gradients)


def count_moved(points: Tensor, images: Tensor) -> Tensor:
    """Return in how many values each point differs from its image: (B,)."""
    return (points != images).flatten(1).sum(1).to(images.dtype)
