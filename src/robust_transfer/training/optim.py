"""Optimisers over the parameter groups of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from robust_transfer.config.methods import TrainingConfig

LARS_TRUST_COEFFICIENT = 0.001  # eeta of You et al. 2017 (arXiv 1708.03888) in SimCLR's release


def build_optimizer(groups: Sequence[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    """Build the optimiser over what is trained in an objective's groups; the rate is set before every step.

    SGD decays every parameter, BatchNorm and biases included, as the study's code does. LARS leaves both out
    of weight decay and of the trust ratio (every tensor of one dimension); LARC, AdamW and LAMB leave nothing
    out. LAMB is version 3 of its paper (arXiv 1904.00962): no bias correction, norms of weights up to 10.

    Note: LARS has the learning rate outside of the momentum, as torch's SGD has; in SimCLR's release it is
    inside, so that a momentum built up at a smaller rate counts for less. The paths of the two differ while
    the rate changes quickly, and hardly over a warm-up of thousands of steps.
    """
    groups = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    common: dict[str, Any] = {
        "lr": config.lr,
        "momentum": config.momentum,
        "nesterov": config.nesterov,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "lars":
        from pytorch_optimizer import LARS  # imports many optimisers; only SimCLR needs one

        optimizer: torch.optim.Optimizer = LARS(groups, trust_coefficient=LARS_TRUST_COEFFICIENT, **common)
        return optimizer
    if config.optimizer == "larc":
        return LARC(groups, trust_coefficient=LARS_TRUST_COEFFICIENT, **common)
    if config.optimizer == "lamb":
        from pytorch_optimizer import Lamb

        lamb: torch.optim.Optimizer = Lamb(
            groups,
            lr=config.lr,
            betas=(config.momentum, config.beta2),
            weight_decay=config.weight_decay,
            weight_decouple=False,
            adam_debias=True,  # else the first steps are 1 / (1 - beta1 ** step) times as long
        )
        return lamb
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = all(parameter.is_cuda and parameter.is_floating_point() for parameter in parameters)
    if config.optimizer == "adamw":
        betas = (config.momentum, config.beta2)
        return torch.optim.AdamW(
            groups, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=fused
        )
    return torch.optim.SGD(groups, fused=fused, **common)


class LARC(torch.optim.SGD):
    """LARS that scales and decays every tensor, biases and BatchNorm's scales and shifts included.

    As SwAV (apex's LARC without clipping) and ACL train. The rate of a tensor w with gradient g is multiplied
    by trust |w| / (|g| + decay |w|), or by 1 where that is 0 or 0/0: a bias that begins at 0 takes its first
    step at the whole rate, which a warm-up makes small.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        trust_coefficient: float,
        weight_decay: float,
        **options: Any,
    ) -> None:
        groups = [{**group, "trust": trust_coefficient, "decay": weight_decay} for group in groups]
        super().__init__(groups, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Scale the gradients in place, then step as SGD does."""
        for group in self.param_groups:
            held = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not held:
                continue
            gradients = [parameter.grad for parameter in held]
            norms = torch.stack(torch._foreach_norm(held))
            below = torch.stack(torch._foreach_norm(gradients)) + group["decay"] * norms
            ratios = torch.where(norms * below > 0, group["trust"] * norms / below, 1.0)
            torch._foreach_add_(gradients, held, alpha=group["decay"])
            torch._foreach_mul_(gradients, list(ratios.unbind()))
        return super().step(closure)
