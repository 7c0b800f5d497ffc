"""CRT: a student near a robust teacher's logits under noise (Vaishnavi et al. 2022, arXiv 2210.14283)."""

# B batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import CRTConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify, widen


def crt_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, transfer_weight: float
) -> Tensor:
    """Return a mean_b ||student_b - teacher_b||_2 + (1 - a) mean_b CE(student_b, y_b), a = transfer_weight.

    Vaishnavi et al. 2022, section 3. No gradient reaches the teacher.

    Parameters
    ----------
    student_logits, teacher_logits : (B, K), of the same noisy images
    """
    difference = widen(student_logits) - widen(teacher_logits.detach())
    # vector_norm has the gradient 0 at 0; the root of a sum of squares has none.
    lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return transfer_weight * lengths.mean() + (1 - transfer_weight) * classify(student_logits, labels)[0]


class CRT(Objective):
    """One draw of noise an image, unclamped, for the student in train mode and the teacher in eval mode.

    Note: logits are compared, as in the authors' code, whose loss and gradient these are to the bit; a
    summary of the paper says softmax outputs.
    """

    def __init__(self, config: CRTConfig) -> None:
        self.config = config

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Keep the teacher, whose classes must be the student's."""
        self.teacher = references["teacher"]
        if self.teacher.class_names != model.class_names:
            raise ConfigError(
                f"the teacher has {self.teacher.num_classes} other classes (expected the "
                f"{model.num_classes} of the data set)",
                "finetune.teacher=DIR of a model that is fine-tuned on the same data set",
            )
        return model

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, the accuracy on noisy images, and how often student and teacher agree."""
        images = self.perturbed(model, batch, noise)
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        logits = model(images)
        accuracy = classify(logits.detach(), batch.labels)[1]
        agreement = (logits.detach().argmax(1) == teacher_logits.argmax(1)).float().mean()
        loss = crt_loss(logits, teacher_logits, batch.labels, self.config.transfer_weight)
        return loss, {"accuracy": accuracy, "agreement": agreement}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return one noisy copy of each image."""
        return batch.images[0] + self.config.sigma * noise("gaussian", 0)
