"""What is known of each image while an attack runs: one row an image, on the CPU."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

import torch
from torch import Tensor

from robust_transfer.attacks import losses
from robust_transfer.attacks.judge import is_near_tie


class Ledger:
    """The standing of N images: clean mistakes are closed at the start, fooled images when they are fooled.

    Nothing reopens or overwrites a closed image, so that no later restart can lose what an earlier one found.
    """

    def __init__(self, images: Tensor, labels: Tensor, index: Tensor, logits: Tensor) -> None:
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
        self.num_runs, self.num_dead_runs = (torch.zeros(len(images), dtype=torch.int64) for _ in range(2))

    def open_positions(self) -> list[int]:
        """Return the positions of the images that are still robust."""
        return self.robust.nonzero().flatten().tolist()

    def longest_first(self, positions: list[int]) -> list[int]:
        """Order positions by how sure the model is of them: those likeliest to survive come first."""
        return sorted(positions, key=lambda position: float(self.clean_margin[position]))

    def dead(self) -> Tensor:
        """Return which robust images had no usable gradient in any of their runs: (N,) bool."""
        return self.robust & (self.num_runs > 0) & (self.num_dead_runs == self.num_runs)

    def forget_runs(self, positions: list[int]) -> None:
        """Start the count of runs anew, before another attack on these images."""
        self.num_runs[positions] = 0
        self.num_dead_runs[positions] = 0

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
