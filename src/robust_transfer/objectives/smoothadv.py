"""SmoothAdv: adversarial training of the smoothed classifier (Salman et al. 2019, arXiv 1906.04584)."""

# M noise copies, B batch, C channels, H/W pixels, K classes

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from robust_transfer.config.methods import SmoothAdvConfig
from robust_transfer.objectives.consistency import consistency_loss
from robust_transfer.objectives.eps_schedule import eps_at
from robust_transfer.objectives.inner_attack import attacked
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views
from robust_transfer.objectives.smoothed import draws, noisy_logits, summed_smoothed_loss, voted_accuracy


class SmoothAdv(Objective):
    """PGD on -log of the mean softmax over M draws (equations 5 and 6), then the cross-entropy of every copy.

    The same draws serve attack and loss. The attack starts at the image and takes steps of 2 eps / num_steps.

    Note: the release's `--train-multi-noise`. It projects into the box first, the ball second; here it
    is the other way round as in all our attacks: iterates differ where both bind, losses by 2e-4. An image
    without gradient stays where it is; the release moves it at random.
    """

    def __init__(self, config: SmoothAdvConfig) -> None:
        self.config = config

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the perturbed images, without noise."""
        eps = eps_at(self.config.eps_schedule, self.config.eps, progress)
        return batch._replace(images=(self._attacked(model, batch, self._draws(noise), eps),))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of all noisy copies of the perturbed images."""
        logits = noisy_logits(model, batch.images[0], self._draws(noise))
        loss = consistency_loss(logits, batch.labels, 0.0, 0.0)
        return loss, {"robust_accuracy": voted_accuracy(logits, batch.labels)}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return one noisy copy of each image that is perturbed at the full radius."""
        samples = self._draws(noise)
        return self._attacked(model, batch, samples, self.config.eps) + samples[0]

    def _draws(self, noise: Noise) -> list[Tensor]:
        return draws(noise, self.config.sigma, self.config.num_noise_samples)

    def _attacked(self, model: nn.Module, batch: Views, samples: list[Tensor], eps: float) -> Tensor:
        return attacked(
            model,
            batch.images[0],
            loss=partial(summed_smoothed_loss, model, samples, batch.labels),
            norm="l2",
            eps=eps,
            num_steps=self.config.num_steps,
            step_size=2 * eps / self.config.num_steps,
            start=None,
        )
