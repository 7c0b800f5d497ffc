"""AT: cross-entropy on images that PGD has just perturbed (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.attacks.pgd import perturb
from robust_transfer.config.methods import AdversarialConfig
from robust_transfer.distributed.context import unwrap
from robust_transfer.models.modes import eval_mode, no_param_grad
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify


class Adversarial(Objective):
    """The inner maximisation by PGD, the outer minimisation by the training step.

    During the attack the model is in eval mode (adversarial iterates leave no trace in BatchNorm) and its
    parameters are frozen (gradients of the input alone: 3 steps cost 3 plain steps, not 4).
    """

    def __init__(self, config: AdversarialConfig) -> None:
        self.attack = config.attack

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of the perturbed images and the accuracy on them."""
        loss, accuracy = classify(model(self.perturbed(model, batch, noise)), batch.labels)
        return loss, {"robust_accuracy": accuracy}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return images of larger loss within the threat."""
        attack = self.attack
        assert attack.step_size is not None, "AttackConfig fills it in"
        # The wrapper would broadcast buffers and prepare a gradient reduction in every attack step.
        inner = unwrap(model)
        with eval_mode(inner), no_param_grad(inner):
            return perturb(
                batch.images[0],
                loss=partial(summed_cross_entropy, inner, labels=batch.labels),
                norm=attack.norm,
                eps=attack.eps,
                num_steps=attack.num_steps,
                step_size=attack.step_size,
                start=noise("start", 0) if attack.random_start else None,
            )


def summed_cross_entropy(model: nn.Module, images: Tensor, *, labels: Tensor) -> Tensor:
    """Return the cross-entropy summed over the images: an image's gradient does not shrink with the batch."""
    return functional.cross_entropy(model(images).float(), labels, reduction="sum")
