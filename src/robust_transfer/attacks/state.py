"""What is known of each image while an attack runs, and the result that it ends in."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robust_transfer.attacks import losses, notes

# A margin below this share of the scale of an image's leading logits may turn with the forward shape or the
# kernel: an attack of many steps amplifies rounding of 1e-6 by about this much.
NEAR_TIE = 1e-3


@dataclass
class AttackResult:
    """One entry per image, in the order given.

    Parameters
    ----------
    images : (B, C, H, W), inside ball and box: the first confirmed misclassified iterate; of a robust
        image the visited point of largest loss; a clean mistake unchanged
    robust : (B,) bool: correctly classified, and no iterate was misclassified; of a randomised model (B,)
        float64: the share of keyed draws that are correct at the point of worst mean loss. Robust accuracy
        is its mean
    clean_prediction, adversarial_prediction : (B,) int64, by the unmodified model, of the images given and
        returned
    distance : (B,) float64, recomputed from the returned images, at most eps (1 + 1e-5)
    loss : (B,) cross-entropy of the unmodified model at the returned images
    gradient_steps : (B,) int64: forward+backward passes the image took part in; 0 for a clean mistake
    near_tie : (B,) bool: decided by a logit margin so small that rounding could turn it
    notes : what was found at each image, as words of `notes.MEANINGS`
    model_flags : what was found of the model and the settings
    record : what was checked and found without being a warning
    """

    images: Tensor
    robust: Tensor
    clean_prediction: Tensor
    adversarial_prediction: Tensor
    distance: Tensor
    loss: Tensor
    gradient_steps: Tensor
    near_tie: Tensor
    notes: list[str] = field(default_factory=list)
    model_flags: list[str] = field(default_factory=list)
    record: dict[str, str | int | float] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """Each a reason to doubt the numbers, "guard: reason": of the model, then counted over the images."""
        return [*self.model_flags, *notes.flags_of(self.notes)]


OnFinalised = Callable[[list[int], AttackResult], None]
"""Told, while an attack runs, the positions of images whose outcome is final, and the result of these alone.

The result holds the flags known by then. Some images stand in the final result alone: the last ones, and
those whose outcome a guard can still change.
"""


class AttackState:
    """The state of N images, on the CPU: clean mistakes are closed at the start, fooled images when fooled.

    Nothing reopens or overwrites a closed image, so that no later restart can lose what an earlier one found.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, index: Tensor, logits: Tensor, arithmetic: str
    ) -> None:
        self.arithmetic = arithmetic
        logits = logits.detach().float().cpu()
        self.clean, self.labels, self.index = images, labels.cpu(), index.cpu()
        self.images = images.detach().clone()
        self.clean_prediction = logits.argmax(1)
        self.adversarial_prediction = self.clean_prediction.clone()
        self.loss = losses.cross_entropy(logits, self.labels, self.labels)
        self.near_tie = is_near_tie(logits, self.labels)
        self.clean_margin = losses.margin(logits, self.labels)
        self.robust = self.clean_prediction == self.labels
        # The other classes from the likeliest down: the order in which a targeted loss tries them.
        self.targets = logits.scatter(1, self.labels.view(-1, 1), -torch.inf).argsort(1, descending=True)
        self.gradient_steps = torch.zeros(len(images), dtype=torch.int64)
        self.num_runs, self.num_vanished_runs, self.num_still_runs = (
            torch.zeros(len(images), dtype=torch.int64) for _ in range(3)
        )
        self._notes: list[list[str]] = [[] for _ in range(len(images))]

    def note(self, name: str, positions: Sequence[int]) -> None:
        """Note of images what `notes.MEANINGS` says of the name."""
        for position in positions:
            if name not in self._notes[position]:
                self._notes[position].append(name)

    def notes(self, positions: Sequence[int]) -> list[str]:
        """Return what was noted of each image, in one line."""
        return [" ".join(self._notes[position]) for position in positions]

    def open_positions(self) -> list[int]:
        """Return the positions of the images that are still robust."""
        return self.robust.nonzero().flatten().tolist()

    def by_margin(self, positions: list[int]) -> list[int]:
        """Order positions from the largest clean margin down: those likeliest to survive come first."""
        return sorted(positions, key=lambda position: float(self.clean_margin[position]))

    def vanished(self) -> Tensor:
        """Return which robust images had a vanishing gradient in all of their runs: (N,) bool."""
        return self.robust & (self.num_runs > 0) & (self.num_vanished_runs == self.num_runs)

    def still(self) -> Tensor:
        """Return which robust images had no run in which their point ever moved: (N,) bool."""
        return self.robust & (self.num_runs > 0) & (self.num_still_runs == self.num_runs)

    def forget_runs(self, positions: list[int]) -> None:
        """Start the count of runs anew, before another attack on these images."""
        self.num_runs[positions] = 0
        self.num_vanished_runs[positions] = 0
        self.num_still_runs[positions] = 0

    def close(self, positions: list[int], images: Tensor, logits: Tensor) -> None:
        """Write fooled images with the logits (n, K) that the unmodified model gives them."""
        assert self.robust[positions].all(), "an image is closed once"
        self.robust[positions] = False
        self._write(positions, images, logits)
        self.near_tie[positions] = is_near_tie(logits.cpu(), self.labels[positions])

    def survive(self, positions: list[int], images: Tensor, logits: Tensor) -> None:
        """Keep the images of runs that ended in vain where they raise the loss over what was known."""
        loss = losses.cross_entropy(logits.cpu(), self.labels[positions], self.labels[positions])
        better = (loss > self.loss[positions]).nonzero().flatten()
        if len(better):
            where = better.to(images.device)
            self._write([positions[i] for i in better.tolist()], images[where], logits[where])

    def _write(self, positions: list[int], images: Tensor, logits: Tensor) -> None:
        logits, labels = logits.float().cpu(), self.labels[positions]
        self.images[positions] = images.to(self.images)
        self.adversarial_prediction[positions] = logits.argmax(1)
        self.loss[positions] = losses.cross_entropy(logits, labels, labels)


def is_near_tie(logits: Tensor, labels: Tensor) -> Tensor:
    """Return where label and best other are closer than rounding may move them: (B,) bool."""
    least = torch.maximum(NEAR_TIE * losses.top_scale(logits), 16 * losses.resolution(logits))
    return losses.margin(logits, labels).abs() < least
