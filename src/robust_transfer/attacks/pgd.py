"""Projected gradient descent: the fixed-step attack, for training and for evaluation.

Madry et al. 2018 (arXiv 1706.06083). `pgd` evaluates, `perturb` is the attack inside a training step.
"""

# B batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from robust_transfer.attacks import threat
from robust_transfer.attacks.guarded import Call, Sample, attack_guarded
from robust_transfer.attacks.rule import Rule
from robust_transfer.attacks.settings import AttackSettings, checked
from robust_transfer.attacks.state import AttackResult, OnFinalised
from robust_transfer.core.arguments import real
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.callables import Model


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str = "l2",
    eps: float = 0.5,
    num_steps: int = 20,
    step_size: float | None = None,
    random_start: bool = True,
    num_restarts: int = 1,
    loss: str = "ce",
    num_eot: int = 1,
    batch_size: int = 128,
    shapes: str = "ladder",
    storage: str = "float",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    guards: str = "fast",
    gradient_model: Model | None = None,
    fast: bool = True,
    on_finalised: OnFinalised | None = None,
    sample: Sample | None = None,
) -> AttackResult:
    """Attack each image by PGD with a fixed step; an image is broken if any iterate is misclassified.

    Madry et al. 2018 (arXiv 1706.06083). Every iterate is evaluated, where several libraries take the last
    alone and call an image robust that the attack passed through the wrong class.

    Parameters
    ----------
    model : from (B, C, H, W) images in [0, 1] to logits (B, K): a module, given back exactly as it came, or
        any function; outputs with `.logits` are taken, half and double weights run in their own arithmetic
    images : (B, C, H, W) floats in [0, 1], a tensor on any device or an array
    labels : (B,) whole numbers
    norm : "l2" or "linf"
    eps : radius in the units of the images
    step_size : in the units of the images; None takes 2.5 eps / num_steps
    random_start : start at random in the ball (`threat.start_points`) rather than at the image
    loss : "ce", "dlr" (at least 3 classes) or "dlr_targeted" (at least 4; the 9 likeliest other classes)
    num_eot : gradients averaged per step; more than one measures the expected accuracy of a model that draws
        random numbers, see `autopgd`
    batch_size : most images of a forward pass
    shapes : "ladder": smaller forwards as images run out; "one": all have `batch_size`, so that an image
        alone ends at the same bits as among others
    storage : "8bit": points are rounded to 8 bit and judged again, in the ball
    index : (B,) names of the images, default 0..B-1: random numbers are keyed by (seed, index, run)
    guards : "full", "fast" or "off"
    gradient_model : the same function computed faster, for the attack's steps; `model` confirms hits
    fast : from some 3,000 gradients on, make such a model, hold it against `model`, and use it where it takes
        less time (`fast_copy`); not with shapes="one", nor with num_eot > 1
    on_finalised : told of outcomes as they become final, so that a long run can be kept piece by piece
    sample : images that the guards try the model on, where `images` are a part of what is attacked

    Raises
    ------
    EvaluationError
        When a guard refuses (its name is in the text) or a setting is impossible.
    """
    if norm == "l1":
        raise EvaluationError("pgd has no rule for norm='l1' (expected l2 or linf)", "autopgd has one")
    if not random_start and num_restarts > 1:
        raise EvaluationError(
            f"num_restarts={num_restarts} with random_start=False repeats one run", "set num_restarts=1"
        )
    if step_size is not None and checked(real, "step_size", step_size) <= 0:
        raise EvaluationError(
            f"step_size must be positive (found {step_size}): no point would climb",
            "step_size=None takes 2.5 eps / num_steps",
        )
    rule = partial(FixedSteps, step_size=step_size, random_start=random_start)
    settings = AttackSettings(
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        num_restarts=num_restarts,
        loss=loss,
        num_eot=num_eot,
        batch_size=batch_size,
        shapes=shapes,
        storage=storage,
        seed=seed,
        guards=guards,
        new_rule=rule,
    )
    return attack_guarded(
        settings, Call(model, images, labels, index, None, gradient_model, on_finalised, sample, fast)
    )


class FixedSteps(Rule):
    """The rule of PGD: the same step along the gradient's direction every time, then projection."""

    per_slot = ("points", "best_points", "best_loss")

    def __init__(
        self, settings: AttackSettings, batch: Tensor, *, step_size: float | None, random_start: bool
    ) -> None:
        self.norm, self.eps = settings.norm, settings.eps
        self.num_points = settings.num_steps + 1
        self.step_size = default_step(settings) if step_size is None else step_size
        self.needs_noise = random_start
        self.points, self.best_points = batch.clone(), batch.clone()
        self.best_loss = torch.full((len(batch),), -torch.inf, device=batch.device)

    def enter(self, slots: Tensor, images: Tensor, noise: Tensor) -> None:
        """Start at the images, or at random points around them."""
        if self.needs_noise:
            images = threat.start_points(images, noise, norm=self.norm, eps=self.eps)
        self.points[slots] = images
        self.best_loss[slots] = -torch.inf

    def advance(self, images: Tensor, losses: Tensor, gradients: Tensor, step: Tensor) -> None:
        """Remember the points of largest loss and take one step."""
        better = losses > self.best_loss
        # Chosen by where(): a mask as an index would make the host wait for the device.
        self.best_points = torch.where(better.view(-1, 1, 1, 1), self.points, self.best_points)
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.points = take_step(
            self.points, gradients, images, norm=self.norm, eps=self.eps, step_size=self.step_size
        )


def default_step(settings: AttackSettings) -> float:
    """Return the step that crosses the ball with a reserve: 2.5 eps / num_steps."""
    return 2.5 * settings.eps / settings.num_steps


def perturb(
    images: Tensor,
    *,
    loss: Callable[[Tensor], Tensor],
    norm: str,
    eps: float,
    num_steps: int,
    step_size: float,
    start: Tensor | None,
    first: Tensor | None = None,
    keep_best: bool = False,
) -> Tensor:
    """Return images that raise the loss, inside the ball of radius eps and the box [0, 1].

    The attack inside a training step: `num_steps` gradients of the loss and no other pass. It touches neither
    mode nor parameters of a network in the loss: wrap it in `eval_mode` and `no_param_grad`.

    Parameters
    ----------
    images : (B, C, H, W) float in [0, 1]
    loss : images (B, C, H, W) -> one of each image (B,), or their sum: the gradient of one image does not
        shrink with B
    norm : "l2" or "linf"
    eps, step_size : in the units of the images
    start : (B, C, H, W) standard normal noise for a random start (`threat.start_points`); None starts at
        the images
    first : (B, C, H, W) points to start at instead of both
    keep_best : return each image's iterate of largest loss instead of the last one, for one more forward
        pass (`use_best` of MadryLab's robustness); needs a loss of each image
    """
    points = images if start is None else threat.start_points(images, start, norm=norm, eps=eps)
    points = points if first is None else first
    best: tuple[Tensor, Tensor] | None = None
    for _ in range(num_steps):
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            losses = loss(points)
            (gradient,) = torch.autograd.grad(losses.sum(), points)
        best = _better(best, points.detach(), losses.detach()) if keep_best else None
        points = take_step(points, gradient, images, norm=norm, eps=eps, step_size=step_size)
    if not keep_best:
        return points.detach()
    with torch.no_grad():
        return _better(best, points, loss(points))[0]


def _better(best: tuple[Tensor, Tensor] | None, points: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's point of larger loss (B, C, H, W), and that loss (B,)."""
    if best is None:
        return points, losses
    higher = losses > best[1]
    return torch.where(higher.view(-1, 1, 1, 1), points, best[0]), torch.where(higher, losses, best[1])


@torch.no_grad()
def take_step(
    points: Tensor, gradients: Tensor, images: Tensor, *, norm: str, eps: float, step_size: float
) -> Tensor:
    """Go `step_size` along the steepest direction, then back into ball and box."""
    moved = points + step_size * threat.direction(gradients, norm=norm)
    return threat.project(moved, images, norm=norm, eps=eps)
