"""Accuracy under PGD and Auto-PGD."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from robust_transfer.attacks import autopgd, pgd
from robust_transfer.attacks.attack import AttackResult
from robust_transfer.config import AttackEvaluatorConfig, AutoPGDConfig, PGDConfig
from robust_transfer.evaluation.images import TestImages
from robust_transfer.evaluation.protocol import Bench, Rows, evaluators
from robust_transfer.journal import Journal, Row
from robust_transfer.models.fast import arithmetic, fast_inference

# Images handed to an attack at once, in batches: as the fooled leave, waiting ones keep the batch full.
BATCHES_AT_ONCE = 20
Attack = Callable[..., AttackResult]


class AttackEvaluator:
    """Attack every image by one of the gradient attacks; the unchanged model confirms hits."""

    journal_columns: tuple[str, ...] = (
        "index",
        "clean_prediction",
        "adversarial_prediction",
        "robust",
        "distance",
        "loss",
        "gradient_steps",
        "near_tie",
    )
    batches_at_once = BATCHES_AT_ONCE

    def __init__(self, config: AttackEvaluatorConfig, attack: Attack) -> None:
        self.config = config
        self._attack = functools.partial(
            attack,
            norm=config.norm,
            eps=config.eps,
            num_steps=config.num_steps,
            num_restarts=config.num_restarts,
            loss=config.loss,
            batch_size=config.batch_size,
            seed=config.seed,
        )

    def header(self, bench: Bench) -> dict[str, Any]:
        """Return nothing: start noise is drawn on the CPU, whatever the model's device."""
        return {}

    def finished(self, rows: Rows, labels: Sequence[int]) -> set[int]:
        """Return the images that have a row."""
        return {int(row["index"]) for row in rows}

    def measure(self, bench: Bench, images: TestImages, rows: Rows, journal: Journal) -> None:
        """Attack the images, some batches at once."""
        size = self.config.batch_size * self.batches_at_once
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            pixels = images[part].to(bench.device)
            labels, indices = images.labels[part], images.indices[part]
            rows_, found = self._run(bench, pixels, labels.to(bench.device), indices)
            bench.doubts.note(found)
            journal.append(rows_)
            bench.progress.step(len(indices))

    def _run(
        self, bench: Bench, pixels: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor
    ) -> tuple[list[Row], list[str]]:
        """Attack; where arithmetic is low, first only to find hits early, never to call an image robust."""
        steps = torch.zeros(len(indices), dtype=torch.int64)
        left = torch.arange(len(indices))
        rows: list[Row] = []
        if self.config.arithmetic != "fp32":
            low = self._once(bench, pixels, labels, indices, self.config.arithmetic, guards="fast")
            steps = low.gradient_steps.cpu()
            left = low.robust.cpu().nonzero().flatten()
            fooled = (~low.robust.cpu()).nonzero().flatten().tolist()
            every = attack_rows(indices, low, steps)
            rows = [every[k] for k in fooled]
        if len(left) == 0:
            return rows, low.flags
        where = left.to(pixels.device)
        full = self._once(
            bench, pixels[where], labels[where], indices[left], "fp32", guards=self.config.guards
        )
        return rows + attack_rows(indices[left], full, steps[left] + full.gradient_steps.cpu()), full.flags

    def _once(
        self,
        bench: Bench,
        pixels: torch.Tensor,
        labels: torch.Tensor,
        indices: torch.Tensor,
        kind: str,
        *,
        guards: str,
    ) -> AttackResult:
        with arithmetic("fp32"):
            fast = fast_inference(bench.model, arithmetic=kind, compile=bench.compile)
            return self._attack(
                bench.model, pixels, labels, index=indices, guards=guards, gradient_model=fast
            )

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image."""
        return [_record(row, labels) for row in sorted(rows, key=lambda row: int(row["index"]))]

    def values(self, records: Sequence[dict[str, Any]]) -> dict[str, list[float] | None]:
        """Return standard accuracy and accuracy under attack."""
        return {
            "sa": [float(r["correct"]) for r in records],
            "ra": [float(r["robust"]) for r in records],
            "acr": None,
        }


def attack_rows(indices: torch.Tensor, result: AttackResult, steps: torch.Tensor) -> list[Row]:
    """Return the journal's rows of a result, `steps` in place of its own gradient steps."""
    columns = (
        indices,
        result.clean_prediction,
        result.adversarial_prediction,
        result.robust,
        result.distance,
        result.loss,
        steps,
        result.near_tie,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _record(row: dict[str, str], labels: Sequence[int]) -> dict[str, Any]:
    index = int(row["index"])
    clean = int(row["clean_prediction"])
    return {
        "index": index,
        "label": labels[index],
        "clean_prediction": clean,
        "adversarial_prediction": int(row["adversarial_prediction"]),
        "correct": clean == labels[index],
        "robust": row["robust"] == "1",
        "distance": float(row["distance"]),
        "loss": float(row["loss"]),
        "gradient_steps": int(row["gradient_steps"]),
    }


@evaluators.register(PGDConfig)
def _pgd(config: PGDConfig) -> AttackEvaluator:
    attack = functools.partial(pgd, step_size=config.step_size, random_start=config.random_start)
    return AttackEvaluator(config, attack)


@evaluators.register(AutoPGDConfig)
def _autopgd(config: AutoPGDConfig) -> AttackEvaluator:
    return AttackEvaluator(config, functools.partial(autopgd, num_eot=config.num_eot))
