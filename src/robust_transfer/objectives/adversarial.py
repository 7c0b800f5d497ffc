"""AT: cross-entropy on images that PGD has just perturbed (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from robust_transfer.config.methods import AdversarialConfig
from robust_transfer.objectives.adversarial_weights import AtPerturbedWeights
from robust_transfer.objectives.eps_schedule import eps_at
from robust_transfer.objectives.inner_attack import attacked, cross_entropies, summed_cross_entropy
from robust_transfer.objectives.objective import Metrics, Noise, Progress, Views, classify
from robust_transfer.objectives.standard import HeadOnly


class Adversarial(AtPerturbedWeights):
    """The inner maximisation by PGD before the weights move, the outer minimisation by the training step.

    Note: steps are those of MadryLab's robustness, which the study's code calls: to the bit for L-infinity,
    to 1e-7 for L2, where its projection leaves as much (torch's `renorm`). It takes the best iterate unless
    told otherwise; here that is `use_best`.
    """

    config: AdversarialConfig

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the perturbed images."""
        eps = eps_at(self.config.eps_schedule, self.config.attack.eps, progress)
        return batch._replace(images=(self._attacked(model, batch, noise, eps),))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of the perturbed images and the accuracy on them."""
        loss, accuracy = classify(model(batch.images[0]), batch.labels)
        return loss, {"robust_accuracy": accuracy}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return images of larger loss within the threat, at its full radius."""
        return self._attacked(model, batch, noise, self.config.attack.eps)

    def _attacked(self, model: nn.Module, batch: Views, noise: Noise, eps: float) -> Tensor:
        attack = self.config.attack
        loss = cross_entropies if self.config.use_best else summed_cross_entropy
        return attacked(
            model,
            batch.images[0],
            loss=partial(loss, model, labels=batch.labels),
            norm=attack.norm,
            eps=eps,
            num_steps=attack.num_steps,
            step_size=attack.step_size_at(eps),
            start=noise("start", 0) if attack.random_start else None,
            keep_best=self.config.use_best,
        )


class AdversarialLinear(HeadOnly, Adversarial):
    """The head's adversarial training; the attack goes through the frozen network (RoLI's first stage).

    Hua et al. 2024 (arXiv 2312.05716): the head that it finds is the start of adversarial fine-tuning
    (`finetune=at_roli`).

    Note: the release takes the attack's iterate of largest loss, compared over the whole batch by mistake,
    for one more pass; here it is the last one, as in all our training.
    """
