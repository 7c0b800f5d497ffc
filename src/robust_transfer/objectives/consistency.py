"""CR: classification under Gaussian noise, with consistency regularisation over several noise samples.

Jeong & Shin 2020 (arXiv 2006.04062), equations 7 to 9. With one noise sample this is the Gaussian
augmentation of Cohen et al. 2019 (arXiv 1902.02918) plus the entropy term.
"""

# M noise copies, B batch, C channels, H/W pixels, K classes

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import ConsistencyConfig
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen
from robust_transfer.objectives.standard import HeadOnly


def consistency_loss(
    logits: Tensor, labels: Tensor, consistency_weight: float, entropy_weight: float
) -> Tensor:
    """Return mean_i CE(f_i, y) + lambda mean_i KL(pbar || p_i) + eta H(pbar), averaged over the images.

    p_i is the softmax of copy i and pbar the mean of all p_i; the gradient flows through pbar too.

    Parameters
    ----------
    logits : (M, B, K), of M noisy copies of each image
    labels : (B,) int64
    consistency_weight, entropy_weight : lambda and eta

    Note: computed from log-probabilities in float32. The reference clamps pbar at 1e-20 inside the logarithm,
    and its gradient is NaN where a softmax underflows (logits of scale 60); here nothing is clamped and
    gradients stay finite. Elsewhere loss and gradient are its own (difference below 1e-13 in float64).
    """
    classification, consistency, entropy = consistency_terms(logits, labels)
    return classification + consistency_weight * consistency + entropy_weight * entropy


def consistency_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three unweighted terms of `consistency_loss`: cross-entropy, KL, entropy of the mean."""
    num_copies = logits.shape[0]
    log_p = widen(logits).log_softmax(dim=2)
    log_mean = log_p.logsumexp(dim=0) - math.log(num_copies)
    mean = log_mean.exp()
    classification = functional.nll_loss(log_p.flatten(0, 1), labels.repeat(num_copies))
    consistency = (mean * (log_mean - log_p.mean(0))).sum(1).mean()
    entropy = -(mean * log_mean).sum(1).mean()
    return classification, consistency, entropy


class Consistency(Objective):
    """All M noisy copies in one forward pass; noise is added to the [0, 1] images and never clamped."""

    def __init__(self, config: ConsistencyConfig) -> None:
        self.config = config

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss of the images and its three terms."""
        images, labels = batch.images[0], batch.labels
        config = self.config
        copies = [
            images + config.sigma * noise("consistency", copy) for copy in range(config.num_noise_samples)
        ]
        logits = model(torch.cat(copies)).unflatten(0, (len(copies), len(images)))
        classification, consistency, entropy = consistency_terms(logits, labels)
        loss = classification + config.consistency_weight * consistency + config.entropy_weight * entropy
        accuracy = (logits.detach().argmax(2) == labels).float().mean()
        terms = {"cross_entropy": classification, "consistency": consistency, "entropy": entropy}
        return loss, {"accuracy": accuracy, **{name: term.detach() for name, term in terms.items()}}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return one noisy copy of each image."""
        return batch.images[0] + self.config.sigma * noise("consistency", 0)


class ConsistencyLinear(HeadOnly, Consistency):
    """CR of the head alone, for a network that is already trained under noise."""
