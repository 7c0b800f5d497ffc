"""MACER: attack-free training that maximises the certified radius (Zhai et al. 2020, arXiv 2001.02378)."""

# M noise copies, B batch, K classes

from __future__ import annotations

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import MACERConfig
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen
from robust_transfer.objectives.smoothed import draws, noisy_logits, smoothed_cross_entropy, voted_accuracy


def macer_loss(
    logits: Tensor,
    labels: Tensor,
    sigma: float,
    inverse_temperature: float,
    robustness_weight: float,
    margin: float,
) -> Tensor:
    """Return mean_b -log pbar_b[y_b] + lambda sigma / 2 mean_b hinge_b (equations 9 to 13).

    The hinge is gamma - xi where xi = Phi^-1(p_1) - Phi^-1(p_2) is finite and at most gamma and the likeliest
    class is the label, else 0; p_1 and p_2 are the two largest mean softmaxes of beta times the logits. The
    gradient flows through both.

    Parameters
    ----------
    logits : (M, B, K), of M noisy copies of each image
    labels : (B,) int64
    sigma : standard deviation of the noise, in [0, 1] pixel units
    inverse_temperature, robustness_weight, margin : the paper's beta, lambda and gamma

    Note: the classification term is computed from log-probabilities, where the release adds 1e-10 inside the
    logarithm and loses the gradient of images that are surely wrong. In float32 a margin above 10 is not
    reached by every radius: p_1 rounds to 1.
    """
    hinge = radius_hinge(logits, labels, inverse_temperature, margin)
    return smoothed_cross_entropy(logits, labels) + robustness_weight * sigma / 2 * hinge


def radius_hinge(logits: Tensor, labels: Tensor, inverse_temperature: float, margin: float) -> Tensor:
    """Return the hinge of `macer_loss` averaged over all images, in units of sigma / 2."""
    votes = (inverse_temperature * widen(logits)).softmax(2).mean(0)
    top = votes.topk(2, dim=1)
    with torch.no_grad():
        gap = _gap(top.values)
        counted = (top.indices[:, 0] == labels) & gap.isfinite() & (gap <= margin)
    # A row that does not count becomes harmless before the quantile: 0 times its infinite slope would be NaN.
    hinge = margin - _gap(torch.where(counted.unsqueeze(1), top.values, 0.5))
    return torch.where(counted, hinge, 0.0).mean()


def _gap(probabilities: Tensor) -> Tensor:
    quantiles: Tensor = torch.special.ndtri(probabilities)
    return quantiles[:, 0] - quantiles[:, 1]


class MACER(Objective):
    """All noisy copies in one pass; the radius counts from `start_epoch` on."""

    def __init__(self, config: MACERConfig) -> None:
        self.config = config

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss of the images, the accuracy of the mean softmax and the hinge."""
        config, labels = self.config, batch.labels
        logits = noisy_logits(model, batch.images[0], draws(noise, config.sigma, config.num_noise_samples))
        hinge = radius_hinge(logits, labels, config.inverse_temperature, config.margin)
        weight = config.robustness_weight if progress.epoch >= config.start_epoch else 0.0
        loss = smoothed_cross_entropy(logits, labels) + weight * config.sigma / 2 * hinge
        return loss, {"accuracy": voted_accuracy(logits, labels), "hinge": hinge.detach()}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return one noisy copy of each image."""
        return batch.images[0] + draws(noise, self.config.sigma, 1)[0]
