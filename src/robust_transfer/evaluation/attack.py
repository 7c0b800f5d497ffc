"""Accuracy under PGD and Auto-PGD."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from robust_transfer.attacks import autopgd, pgd
from robust_transfer.attacks.checks.cross_checks import SHARE
from robust_transfer.attacks.guarded import Sample
from robust_transfer.attacks.notes import flags_of
from robust_transfer.attacks.state import AttackResult
from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.evaluators import (
    AttackEvaluatorConfig,
    AutoAttackConfig,
    AutoPGDConfig,
    MinimalNormConfig,
    PGDConfig,
    TransferConfig,
)
from robust_transfer.core.numerics import arithmetic
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext, RowPerImage, Rows
from robust_transfer.store.journal import Journal, Row

# Images handed to an attack at once, in batches: as the fooled leave, waiting ones keep the batch full.
BATCHES_AT_ONCE = 20
COLUMNS = (
    "index",
    "clean_prediction",
    "adversarial_prediction",
    "robust",
    "distance",
    "loss",
    "gradient_steps",
    "near_tie",
    "notes",
)
# Images on which the guards test a model, spread over all that an evaluation attacks.
NUM_GUARD_IMAGES = 32
EARLY = 10  # the share of steps that an attack in low precision takes first
Attack = Callable[..., AttackResult]
Options = Callable[[EvalContext], dict[str, Any]]
RunAttack = Callable[[EvalContext, torch.Tensor, torch.Tensor, "Outcomes"], None]
RowsOf = Callable[[torch.Tensor, Any, torch.Tensor], list[Row]]


class AttackEvaluator(RowPerImage):
    """Attack every image, several batches at once; the journal has a row per image.

    run : attacks images (B, C, H, W) with labels (B,) and hands every outcome to `Outcomes`
    columns, rows_of : of the journal, and how they are filled from a result
    batches_at_once : images handed to `run` together, in batches
    """

    def __init__(
        self,
        config: EvaluatorConfig,
        run: RunAttack,
        *,
        columns: tuple[str, ...] = COLUMNS,
        rows_of: RowsOf | None = None,
        batches_at_once: int,
    ) -> None:
        self.config, self._run = config, run
        self.journal_columns, self._rows_of = columns, rows_of or attack_rows
        self._batches_at_once = batches_at_once

    def measure(self, context: EvalContext, images: ImageBatch, rows: Rows, journal: Journal) -> None:
        """Attack the images, several batches at once."""
        size = self.config.batch_size * self._batches_at_once
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            pixels, labels = images[part].to(context.device), images.labels[part].to(context.device)
            outcomes = Outcomes(context, journal, images.indices[part], self._rows_of)
            self._run(context, pixels, labels, outcomes)

    def adversarial(self, context: EvalContext, images: ImageBatch) -> torch.Tensor:
        """Return the images (B, C, H, W) in [0, 1] that the attack makes, without a journal."""
        made = images[:]
        places = {index: place for place, index in enumerate(images.indices.tolist())}

        def keep(indices: torch.Tensor, result: Any, steps: torch.Tensor) -> list[Row]:
            for index, image in zip(indices.tolist(), result.images.cpu(), strict=True):
                made[places[index]] = image
            return self._rows_of(indices, result, steps)

        pixels, labels = images[:].to(context.device), images.labels.to(context.device)
        self._run(context, pixels, labels, Outcomes(context, None, images.indices, keep))
        return made

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image."""
        return [_record(row, labels) for row in sorted(rows, key=lambda row: int(row["index"]))]

    def flags(self, rows: Rows) -> list[str]:
        """Return the flags of single images; journals of an older version have none."""
        return flags_of([row.get("notes", "") for row in rows])


class GradientAttack:
    """A gradient attack: a fast copy gives the gradients, the unchanged model confirms broken images."""

    def __init__(self, config: AttackEvaluatorConfig, attack: Attack) -> None:
        self.config, self._attack = config, attack

    def __call__(
        self, context: EvalContext, pixels: torch.Tensor, labels: torch.Tensor, outcomes: Outcomes
    ) -> None:
        """Attack; low precision comes first, briefly, and only breaks images: it never calls one robust."""
        if self.config.arithmetic != "fp32":
            every = range(len(pixels))
            low = self._once(context, pixels, labels, every, outcomes, self.config.arithmetic, broken=True)
            outcomes.add(every, low, broken=True)
            outcomes.spent = low.gradient_steps.cpu()
        if remaining := outcomes.open:
            full = self._once(context, pixels, labels, remaining, outcomes, "fp32")
            outcomes.add(remaining, full)

    def _once(
        self,
        context: EvalContext,
        pixels: torch.Tensor,
        labels: torch.Tensor,
        positions: Sequence[int],
        outcomes: Outcomes,
        kind: str,
        *,
        broken: bool = False,
    ) -> AttackResult:
        where = torch.tensor(positions, device=pixels.device)
        options = options_of(self.config, compiled=context.compile)
        options |= guard_options(context, "fast" if broken else self.config.guards)
        if broken:  # most images that break do so early, and a robust one should not cost twice
            options |= {"num_steps": max(1, self.config.num_steps // EARLY), "num_restarts": 1}
        with arithmetic("fp32"):
            return self._attack(
                context.model,
                pixels[where],
                labels[where],
                index=outcomes.indices[where.cpu()],
                gradient_model=context.fast_model(kind),
                **options,
                on_finalised=lambda rows, part: outcomes.add(
                    [positions[i] for i in rows], part, broken=broken
                ),
            )


class OneCall:
    """One call of an attack in float32 that hands all outcomes back at its end.

    extra : options of the attack that come from the evaluation, not from its configuration
    """

    def __init__(
        self, config: AutoAttackConfig | MinimalNormConfig | TransferConfig, attack: Attack, extra: Options
    ) -> None:
        self.config, self._attack, self._extra = config, attack, extra

    def __call__(
        self, context: EvalContext, pixels: torch.Tensor, labels: torch.Tensor, outcomes: Outcomes
    ) -> None:
        """Attack, and journal every image."""
        options = options_of(self.config, compiled=context.compile)
        options |= guard_options(context, self.config.guards)
        with arithmetic("fp32"):
            options |= self._extra(context)
            result = self._attack(context.model, pixels, labels, index=outcomes.indices, **options)
        outcomes.add(range(len(pixels)), result)


def fast_gradients(context: EvalContext) -> dict[str, Any]:
    """Return the option that takes an attack's gradients from the fast copy of the model."""
    return {"gradient_model": context.fast_model("fp32")}


def options_of(config: EvaluatorConfig, *, compiled: bool) -> dict[str, Any]:
    """Return what a configuration says of its attack: the keyword arguments of the public function."""
    shared = {field.name for field in dataclasses.fields(EvaluatorConfig)}
    own = {field.name for field in dataclasses.fields(config)} - shared
    options = {name: getattr(config, name) for name in own | {"batch_size"}}
    # One graph is compiled per shape.
    return {**options, "shapes": "one"} if compiled else options


def guard_options(context: EvalContext, guards: str) -> dict[str, Any]:
    """Return the options by which guards test the model on the same images in every part of an evaluation.

    The cross-checks of guards=full run once, on a twentieth of all images.
    """
    if context.sample is None:
        return {"guards": guards}
    share = SHARE if guards == "full" else 0
    images = context.sample(max(NUM_GUARD_IMAGES, math.ceil(share * context.num_images)))
    sample = Sample(images[: len(images)], images.labels, images.indices, context.num_images)
    if guards == "full" and not (context.is_main and context.once("cross_checks")):
        guards = "fast"
    return {"sample": sample, "guards": guards}


class Outcomes:
    """The images attacked together; each is journalled once, as soon as its outcome is final.

    journal : None where outcomes are not kept
    indices : (B,) positions in the test set
    spent : (B,) gradient steps of an earlier attack on the same images, which the rows add
    """

    def __init__(
        self, context: EvalContext, journal: Journal | None, indices: torch.Tensor, rows_of: RowsOf
    ) -> None:
        self.indices, self.spent = indices, torch.zeros(len(indices), dtype=torch.int64)
        self._context, self._journal, self._rows_of = context, journal, rows_of
        self._written = [False] * len(indices)

    @property
    def open(self) -> list[int]:
        """Positions of the images that have no row yet."""
        return [position for position, written in enumerate(self._written) if not written]

    def add(self, positions: Sequence[int], result: AttackResult, *, broken: bool = False) -> None:
        """Journal the result's open images, with `broken` the broken ones alone. Flags come first."""
        self._context.warnings.note(result.model_flags)
        where = torch.as_tensor(positions)
        steps = self.spent[where] + result.gradient_steps.cpu()
        rows = self._rows_of(self.indices[where], result, steps)
        final = [
            (position, row)
            for position, row, robust in zip(positions, rows, result.robust.tolist(), strict=True)
            if not self._written[position] and not (broken and robust)
        ]
        if self._journal:
            self._journal.append(row for _, row in final)
        self._context.progress.step(len(final))
        for position, _ in final:
            self._written[position] = True


def attack_rows(indices: torch.Tensor, result: AttackResult, steps: torch.Tensor) -> list[Row]:
    """Return the journal's rows of a result, `steps` in place of its own gradient steps."""
    columns = (
        indices.tolist(),
        result.clean_prediction.tolist(),
        result.adversarial_prediction.tolist(),
        # Flags stay flags where gradients are averaged, and expected accuracies stay numbers.
        [robust if 0 < robust < 1 else bool(robust) for robust in result.robust.tolist()],
        result.distance.tolist(),
        result.loss.tolist(),
        steps.tolist(),
        result.near_tie.tolist(),
        result.notes,
    )
    return list(zip(*columns, strict=True))


def _record(row: dict[str, str], labels: Sequence[int]) -> dict[str, Any]:
    index = int(row["index"])
    clean = int(row["clean_prediction"])
    broken_by = {"broken_by": row["broken_by"]} if "broken_by" in row else {}
    return {
        "index": index,
        "label": labels[index],
        "clean_prediction": clean,
        "adversarial_prediction": int(row["adversarial_prediction"]),
        "correct": clean == labels[index],
        "robust": _robust(row["robust"]),
        "distance": float(row["distance"]),
        "loss": float(row["loss"]),
        "gradient_steps": int(row["gradient_steps"]),
        **broken_by,
    }


def _robust(text: str) -> bool | float:
    """Read 0 or 1, or the expected accuracy of a model that draws random numbers."""
    if not 0 <= float(text) <= 1:
        raise ValueError(f"robust={text} (expected 0 to 1)")
    return float(text) if 0 < float(text) < 1 else float(text) == 1


def pgd_evaluator(config: PGDConfig) -> AttackEvaluator:
    """Return the evaluator of PGD."""
    return AttackEvaluator(config, GradientAttack(config, pgd), batches_at_once=BATCHES_AT_ONCE)


def autopgd_evaluator(config: AutoPGDConfig) -> AttackEvaluator:
    """Return the evaluator of Auto-PGD."""
    return AttackEvaluator(config, GradientAttack(config, autopgd), batches_at_once=BATCHES_AT_ONCE)
