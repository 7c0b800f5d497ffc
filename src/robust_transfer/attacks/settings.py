"""The settings of an attack, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.rule import Rule
from robust_transfer.core.arguments import real, whole
from robust_transfer.core.choices import SHAPES, STORAGES
from robust_transfer.core.errors import ConfigError, EvaluationError, did_you_mean

# The targets of a targeted loss: as many of the likeliest wrong classes as AutoAttack tries.
MAX_TARGETS = {"l2": 9, "linf": 9, "l1": 5}
Number = TypeVar("Number", int, float)
GUARDS = ("full", "fast", "off")
ROUNDED = "8bit"


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """What an attack does, whatever the model and the images.

    Parameters
    ----------
    norm, eps : the ball, in the units of the images
    num_steps : gradient steps of a run
    num_restarts : runs of an image that stays robust (for a targeted loss: per target)
    loss : a name of `losses.LOSSES`
    num_eot : gradients averaged per step; more than one: the model draws random numbers (`randomised`)
    batch_size : most images of a forward pass
    shapes : "ladder": a forward is as small as the images that are left allow; "one": all have `batch_size`
    seed : of the random starts
    guards : "full", "fast" or "off"
    storage : "float": points are judged as they are; "8bit": as an image file holds them (`storage`)
    new_rule : builds the attack's rule for a batch of images

    Raises
    ------
    EvaluationError : a value that no attack can work with
    """

    norm: str
    eps: float
    num_steps: int
    num_restarts: int = 1
    loss: str
    num_eot: int = 1
    batch_size: int
    shapes: str = "ladder"
    seed: int
    guards: str
    storage: str = "float"
    new_rule: Callable[[AttackSettings, Tensor], Rule]

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_restarts", "num_eot", "batch_size"):
            object.__setattr__(self, name, checked(whole, name, getattr(self, name), low=1))
        object.__setattr__(self, "seed", checked(whole, "seed", self.seed))
        if isinstance(self.eps, str):
            raise EvaluationError(f"eps: expected a number (found the text '{self.eps}')", f"eps={self.eps}")
        object.__setattr__(self, "eps", checked(real, "eps", self.eps))
        threat.check_ball(self.norm, self.eps)
        losses.check_name(self.loss)
        for name, choices in (("guards", GUARDS), ("shapes", SHAPES), ("storage", STORAGES)):
            if getattr(self, name) not in choices:
                found = str(getattr(self, name))
                raise EvaluationError(
                    f"unknown {name} (expected one of {', '.join(choices)}, found '{found}')",
                    did_you_mean(found, choices),
                )

        if self.storage == ROUNDED and self.num_eot > 1:
            raise EvaluationError(
                "storage='8bit' judges one answer of a fixed model (expected num_eot=1, "
                f"found {self.num_eot})"
            )

    def num_runs(self, num_classes: int) -> int:
        """Return the most runs an image can take: restarts, for a targeted loss times the targets."""
        return self.num_restarts * (self.num_targets(num_classes) if self.loss in losses.TARGETED else 1)

    def num_targets(self, num_classes: int) -> int:
        """Return how many wrong classes a targeted loss tries: all others, nine at most, five for L1."""
        return min(MAX_TARGETS[self.norm], num_classes - 1)


def checked(check: Callable[..., Number], name: str, value: object, **limits: int) -> Number:
    """Return what a check of `core.arguments` makes of a value; refusals are this package's."""
    try:
        return check(name, value, **limits)
    except ConfigError as error:
        raise EvaluationError(error.what, *error.hints) from error
