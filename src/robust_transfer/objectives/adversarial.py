"""AT: cross-entropy on images that PGD has just made worse (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from torch import Tensor, nn

from robust_transfer.attacks.pgd import perturb
from robust_transfer.config.methods import AdversarialConfig
from robust_transfer.distributed.context import unwrap
from robust_transfer.models.modes import eval_mode, no_param_grad
from robust_transfer.objectives.objective import OBJECTIVES, Metrics, Noise, Objective, Pair, classify


@OBJECTIVES.register(AdversarialConfig)
class Adversarial(Objective):
    """The inner maximisation by PGD, the outer minimisation by the training step.

    During the attack the model is in eval mode (adversarial iterates leave no trace in BatchNorm) and its
    parameters are frozen (gradients of the input alone: 3 steps cost 3 plain steps, not 4).
    """

    def __init__(self, config: AdversarialConfig) -> None:
        self.attack = config.attack

    def __call__(self, model: nn.Module, batch: Pair, noise: Noise) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of the attacked (images, labels) and the accuracy under attack."""
        images, labels = batch
        loss, accuracy = classify(model(self.adversary(model, images, labels, noise)), labels)
        return loss, {"robust_accuracy": accuracy}

    def adversary(self, model: nn.Module, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return images of larger loss within the threat."""
        attack = self.attack
        assert attack.step_size is not None, "AttackConfig fills it in"
        # The wrapper would broadcast buffers and prepare a gradient reduction in every attack step.
        inner = unwrap(model)
        with eval_mode(inner), no_param_grad(inner):
            return perturb(
                inner,
                images,
                labels,
                norm=attack.norm,
                eps=attack.eps,
                num_steps=attack.num_steps,
                step_size=attack.step_size,
                start=noise("start", 0) if attack.random_start else None,
            )
