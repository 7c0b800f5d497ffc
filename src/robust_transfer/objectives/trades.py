"""TRADES: accuracy, and outputs that an attack does not change (Zhang et al. 2019, arXiv 1901.08573)."""

# B batch, C channels, H/W pixels, K classes

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import TradesConfig
from robust_transfer.models.modes import eval_mode
from robust_transfer.objectives.adversarial_weights import AtPerturbedWeights
from robust_transfer.objectives.eps_schedule import eps_at
from robust_transfer.objectives.inner_attack import attacked
from robust_transfer.objectives.objective import Metrics, Noise, Progress, Views, classify, widen

NEAR = 0.001  # the release's start: this times standard normal noise


def trades_loss(clean_logits: Tensor, adversarial_logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Return mean_b CE(clean_b, y_b) + beta mean_b KL(p_b || q_b).

    p and q are the softmaxes of the clean and of the adversarial logits; the divergence is summed over the
    classes, and its gradient flows through both (Zhang et al. 2019, equation 5).

    Parameters
    ----------
    clean_logits, adversarial_logits : (B, K)
    labels : (B,) int64
    beta : the paper's 1 / lambda
    """
    classification = functional.cross_entropy(widen(clean_logits), labels)
    return classification + beta * summed_kl(clean_logits, adversarial_logits) / len(labels)


def summed_kl(clean_logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """Return KL(p || q), summed over the images."""
    log_p, log_q = widen(clean_logits).log_softmax(1), widen(adversarial_logits).log_softmax(1)
    return functional.kl_div(log_q, log_p, reduction="sum", log_target=True)


class Trades(AtPerturbedWeights):
    """The attack maximises the divergence in eval mode; the loss takes two passes in train mode.

    Note: the release passes the clean images a second time for the divergence, with the same result, so that
    BatchNorm's running statistics move three times in a step; here they move twice. Its forwards are separate
    and so are ours: each has its own batch statistics. For L2 the release starts 0.001 times a normal draw
    away from the image, which is 0.39 long at 224 pixels; here L2 starts as all our attacks do
    (`threat.start_points`) and L-infinity as published. An image without gradient stays where it is; the
    release moves it at random.
    """

    config: TradesConfig

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the images and the perturbed images."""
        eps = eps_at(self.config.eps_schedule, self.config.attack.eps, progress)
        return batch._replace(images=(batch.images[0], self._attacked(model, batch, noise, eps)))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss of clean and perturbed images, and the accuracy on either."""
        clean, adversarial = model(batch.images[0]), model(batch.images[1])
        cross_entropy, accuracy = classify(clean, batch.labels)
        divergence = summed_kl(clean, adversarial) / len(batch.labels)
        robust = (adversarial.detach().argmax(1) == batch.labels).float().mean()
        metrics = {"accuracy": accuracy, "robust_accuracy": robust, "divergence": divergence.detach()}
        return cross_entropy + self.config.beta * divergence, metrics

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return images whose outputs differ from the clean ones within the threat, at its full radius."""
        return self._attacked(model, batch, noise, self.config.attack.eps)

    def _attacked(self, model: nn.Module, batch: Views, noise: Noise, eps: float) -> Tensor:
        attack, images = self.config.attack, batch.images[0]
        with torch.no_grad(), eval_mode(model):
            clean = model(images)
        start = noise("start", 0)
        near = images + NEAR * start if attack.norm == "linf" else None
        return attacked(
            model,
            images,
            loss=partial(_divergence, model, clean),
            norm=attack.norm,
            eps=eps,
            num_steps=attack.num_steps,
            step_size=attack.step_size_at(eps),
            start=start,
            first=near,
        )


def _divergence(model: nn.Module, clean: Tensor, images: Tensor) -> Tensor:
    return summed_kl(clean, model(images))
