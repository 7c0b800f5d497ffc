"""A model, images and what the model says of them unharmed: what any number of attacks can be run on."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robust_transfer.attacks.attack import Attack
from robust_transfer.attacks.judge import Judge
from robust_transfer.attacks.ledger import Ledger
from robust_transfer.attacks.queue import SettledPositions, run_queue
from robust_transfer.core import rng


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The images (N, C, H, W) under attack, their labels, names and clean logits (N, K), and who judges."""

    judge: Judge
    gradient_model: nn.Module
    images: Tensor
    labels: Tensor
    index: Tensor
    logits: Tensor
    start_noise: Tensor | None

    def correct_positions(self) -> list[int]:
        """Return the positions of the correctly classified images."""
        return (self.logits.argmax(1).cpu() == self.labels.cpu()).nonzero().flatten().tolist()

    def subset(self, positions: list[int]) -> Trial:
        """Return the trial of some of the images; each keeps its name and so its noise."""
        where = torch.tensor(positions)
        return replace(
            self,
            images=self.images[where.to(self.images.device)],
            labels=self.labels[where.to(self.labels.device)],
            index=self.index[where],
            logits=self.logits[where.to(self.logits.device)],
            start_noise=None if self.start_noise is None else self.start_noise[:, where],
        )

    def new_ledger(self) -> Ledger:
        """Return the images' standing before any attack."""
        return Ledger(self.images, self.labels, self.index, self.logits)

    def run(self, attack: Attack) -> Ledger:
        """Attack all correctly classified images and return what became of each."""
        ledger = self.new_ledger()
        self.go_on(attack, ledger, ledger.open_positions())
        return ledger

    def go_on(
        self,
        attack: Attack,
        ledger: Ledger,
        positions: list[int],
        on_settled: SettledPositions = lambda positions: None,
    ) -> None:
        """Attack some of the images that a ledger still holds open."""

        def noise(position: int, run: int) -> Tensor:
            if self.start_noise is not None:
                return self.start_noise[run % attack.num_restarts, position]
            name = int(self.index[position])
            return rng.normal(self.images.shape[1:], attack.seed, "attack_start", name, run)

        run_queue(
            attack,
            judge=self.judge,
            gradient_model=self.gradient_model,
            ledger=ledger,
            positions=positions,
            noise=noise,
            on_settled=on_settled,
        )
