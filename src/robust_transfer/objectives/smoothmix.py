"""SmoothMix: less confident on the way to adversarial images (Jeong et al. 2021, arXiv 2111.09277)."""

# M noise copies, B batch, C channels, H/W pixels, K classes

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from robust_transfer.attacks import threat
from robust_transfer.config.methods import SmoothMixConfig
from robust_transfer.objectives.consistency import consistency_loss
from robust_transfer.objectives.inner_attack import attacked
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen
from robust_transfer.objectives.smoothed import (
    draws,
    log_votes,
    noisy_logits,
    summed_smoothed_loss,
    voted_accuracy,
)


def smoothmix_loss(
    clean_logits: Tensor, mixed_logits: Tensor, labels: Tensor, mix: Tensor, mix_weight: float
) -> Tensor:
    """Return mean_mb CE(clean_mb, y_b) + eta mean_mb 1[argmax pbar_b = y_b] KL(t_b || softmax(mixed_mb)).

    t_b = (1 - lambda_b) pbar_b + lambda_b / K with pbar the mean softmax of the clean copies, through which
    the gradient flows too (equations 9 to 12). The mean is over all images, also over those that are wrong.

    Parameters
    ----------
    clean_logits, mixed_logits : (M, B, K), of M noisy copies of each image and of each mixed image
    labels : (B,) int64
    mix : (B,) lambda, in [0, 1/2]
    mix_weight : eta
    """
    classification = consistency_loss(clean_logits, labels, 0.0, 0.0)
    return classification + mix_weight * mixed_divergence(clean_logits, mixed_logits, labels, mix)


def mixed_divergence(clean_logits: Tensor, mixed_logits: Tensor, labels: Tensor, mix: Tensor) -> Tensor:
    """Return the mean divergence of `smoothmix_loss`."""
    log_clean, log_q = log_votes(clean_logits), widen(mixed_logits).log_softmax(2)
    mix = mix.unsqueeze(1)
    log_target = torch.logaddexp(torch.log1p(-mix) + log_clean, mix.log() - math.log(log_q.shape[2]))
    divergences = (log_target.exp() * (log_target - log_q.mean(0))).sum(1)
    correct = log_clean.detach().argmax(1) == labels
    return torch.where(correct, divergences, 0.0).mean()


class SmoothMix(Objective):
    """An attack on the smoothed classifier that no ball bounds, and labels that fade on the way to its end.

    The same draws serve attack, clean and mixed images; clean and mixed images pass separately, each with its
    own batch statistics. With `mix_step` 1 the point after the first step, pulled into a ball that grows to
    `step_size`, takes the image's place.

    Note: the release's settings for ImageNet are not published.
    """

    def __init__(self, config: SmoothMixConfig) -> None:
        self.config = config

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the images and their mixtures with the adversarial images, without noise."""
        images = batch.images[0]
        near, far = self._attacked(model, batch, self._draws(noise))
        if self.config.mix_step:
            images = threat.project(near, images, norm="l2", eps=self.config.step_size * self._warm(progress))
        mix = drawn_mix(noise).view(-1, 1, 1, 1)
        return batch._replace(images=(images, (1 - mix) * images + mix * far))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss of clean and mixed images, and the accuracy on the clean ones."""
        samples = self._draws(noise)
        clean, mixed = (noisy_logits(model, view, samples) for view in batch.images)
        weight = self.config.mix_weight * self._warm(progress)
        loss = smoothmix_loss(clean, mixed, batch.labels, drawn_mix(noise), weight)
        return loss, {"accuracy": voted_accuracy(clean, batch.labels)}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return one noisy copy of each image."""
        return batch.images[0] + self._draws(noise)[0]

    def _draws(self, noise: Noise) -> list[Tensor]:
        return draws(noise, self.config.sigma, self.config.num_noise_samples)

    def _warm(self, progress: Progress) -> float:
        return min(1.0, (progress.epoch + 1) / max(1, self.config.mix_warmup_epochs))

    def _attacked(self, model: nn.Module, batch: Views, samples: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the points after the first and after the last step."""
        config, images = self.config, batch.images[0]
        ascend = partial(
            attacked,
            model,
            images,
            loss=partial(summed_smoothed_loss, model, samples, batch.labels),
            norm="l2",
            eps=2 * config.num_steps * config.step_size,  # out of reach: there is no ball
            step_size=config.step_size,
            start=None,
        )
        near = ascend(num_steps=1)
        return near, ascend(num_steps=config.num_steps - 1, first=near)


def drawn_mix(noise: Noise) -> Tensor:
    """Return each image's lambda, uniform in [0, 1/2]: (B,)."""
    mix: Tensor = torch.special.ndtr(noise("mix", 0)[:, 0, 0, 0]) / 2
    return mix
