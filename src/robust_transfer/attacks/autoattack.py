"""AutoAttack's standard version: four attacks, each on what the ones before it left robust.

Croce & Hein 2020 (arXiv 2003.01690): APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB,
Square. The two APGDs are ours; FAB and Square are the package pyautoattack's.
"""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from robust_transfer.attacks import threat
from robust_transfer.attacks.apgd import AutoSteps
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.attacks.guarded import Call, check_after, check_before, measured, prepared
from robust_transfer.attacks.packaged import attack_classes, constant_shape, fab_point, square_point
from robust_transfer.attacks.runner import AttackInputs, run_attack
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState
from robust_transfer.core.choices import MIN_CLASSES
from robust_transfer.core.numerics import exact_arithmetic
from robust_transfer.models.callables import Model

CLEAN, CE, TARGETED, FAB, SQUARE = "clean", "apgd-ce", "apgd-t", "fab-t", "square"
STANDARD = (100, 5000)  # steps, queries
# An attack without gradients that breaks more than this share hints at masked gradients (the authors' check).
MAX_BLACK_BOX = 0.002
ROUNDING = 1e-5


@dataclass
class AutoAttackResult(AttackResult):
    """As `AttackResult`; `broken_by` names for each image the attack that broke it.

    broken_by : "apgd-ce", "apgd-t", "fab-t", "square"; "clean" for a clean mistake, "" for a robust image
    gradient_steps : as in `AttackResult`, FAB's included; Square takes none
    """

    broken_by: list[str] = field(default_factory=list)


def autoattack(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str = "l2",
    eps: float = 0.5,
    num_steps: int = 100,
    num_queries: int = 5000,
    batch_size: int = 128,
    shapes: str = "ladder",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    guards: str = "fast",
    gradient_model: Model | None = None,
) -> AutoAttackResult:
    """Attack each image by AutoAttack's standard components until one breaks it; robust means robust to all.

    With fewer than 4 classes the targeted DLR loss is undefined: that attack is left out and a flag says so.

    Note: an image's result does not depend on the other images. Noise of the APGDs and what Square draws for
    an image is keyed by (seed, index); the places of Square's squares are shared by all images and keyed by
    the seed; FAB draws nothing. Only rounding of another forward shape is left (`shapes`). The authors' code
    seeds anew for every batch.

    Parameters
    ----------
    model, images, labels, norm, eps, batch_size, shapes, index, gradient_model : as in `autopgd`
    num_steps : steps of both APGDs and of FAB
    num_queries : forward passes of Square; other numbers than AutoAttack's 100 and 5000 are flagged
    guards : of the first attack, which sees all images; the others attack the same model

    Raises
    ------
    EvaluationError : as in `autopgd`; the package pyautoattack is missing
    """
    attack_classes()
    settings = AttackSettings(
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        loss="ce",
        batch_size=batch_size,
        shapes=shapes,
        seed=seed,
        guards=guards,
        new_rule=AutoSteps,
    )
    with prepared(settings, Call(model, images, labels, index, None, gradient_model)) as inputs:
        flags = check_before(settings, inputs)
        run = _Run(settings, inputs, inputs.new_state(), num_queries)
        run.apgd("ce", CE)
        flags += check_after(settings, inputs, run.state)
        run.note(CE)
        flags += _departures(settings, num_queries, run.num_classes)
        if run.num_classes >= MIN_CLASSES["dlr_targeted"]:
            run.apgd("dlr_targeted", TARGETED)
        run.fab()
        run.square()
    flags += _black_box(run.broken_by, len(run.broken_by))
    return AutoAttackResult(**vars(measured(settings, run.state, flags)), broken_by=run.broken_by)


def _departures(settings: AttackSettings, num_queries: int, num_classes: int) -> list[str]:
    """Flag what is not AutoAttack's standard."""
    flags = []
    if (settings.num_steps, num_queries) != STANDARD:
        steps = f"{settings.num_steps} steps, {num_queries} queries"
        flags.append(f"not_standard: {steps} (AutoAttack's: 100, 5000)")
    if num_classes < MIN_CLASSES["dlr_targeted"]:
        flags.append(f"few_classes: targeted DLR needs 4 classes (found {num_classes}) and was left out")
    return flags


def _black_box(broken_by: list[str], count: int) -> list[str]:
    number = broken_by.count(SQUARE)
    if number <= MAX_BLACK_BOX * count:
        return []
    return [f"black_box: Square broke {number} of {count} images that withstood every gradient attack"]


class _Run:
    """The four attacks on one state; nothing reopens an image that one of them has broken."""

    def __init__(
        self, settings: AttackSettings, inputs: AttackInputs, state: AttackState, num_queries: int
    ) -> None:
        self.settings, self.inputs, self.state, self.num_queries = settings, inputs, state, num_queries
        self.num_classes = inputs.logits.shape[1]
        self.broken_by = ["" if robust else CLEAN for robust in state.robust.tolist()]
        self.predict = constant_shape(inputs.gradient_model, settings.batch_size, settings.shapes)

    def note(self, attack: str) -> None:
        """Name `attack` as the one that broke the images that no longer are robust."""
        for position, robust in enumerate(self.state.robust.tolist()):
            if not robust and not self.broken_by[position]:
                self.broken_by[position] = attack

    def apgd(self, loss: str, name: str) -> None:
        """Run APGD on a loss."""
        opened = self.state.open_positions()
        self.state.forget_runs(opened)
        run_attack(replace(self.settings, loss=loss), self.inputs, self.state, opened)
        self.note(name)

    def fab(self) -> None:
        """Run targeted FAB, class by class, on what each leaves."""
        settings = self.settings
        for positions in self._batches():
            for rank in range(2, 2 + settings.num_targets(self.num_classes)):
                opened = [position for position in positions if self.state.robust[position]]
                if not opened:
                    break
                with exact_arithmetic(self.inputs.exact_model.device):
                    points = fab_point(
                        self.predict,
                        *self._images_and_labels(opened),
                        norm=settings.norm,
                        eps=settings.eps,
                        num_steps=settings.num_steps,
                        rank=rank,
                    )
                self.state.gradient_steps[opened] += settings.num_steps
                self._confirm(opened, points)
        self.note(FAB)

    def square(self) -> None:
        """Run Square."""
        settings = self.settings
        for positions in self._batches():
            with exact_arithmetic(self.inputs.exact_model.device):
                points = square_point(
                    self.predict,
                    *self._images_and_labels(positions),
                    norm=settings.norm,
                    eps=settings.eps,
                    num_queries=self.num_queries,
                    seed=settings.seed,
                    index=self.state.index[positions].tolist(),
                )
            self._confirm(positions, points)
        self.note(SQUARE)

    def _batches(self) -> list[list[int]]:
        opened, size = self.state.open_positions(), self.settings.batch_size
        return [opened[first : first + size] for first in range(0, len(opened), size)]

    def _images_and_labels(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        device = self.inputs.exact_model.device
        return self.state.clean[positions].to(device), self.state.labels[positions].to(device)

    def _confirm(self, positions: list[int], points: Tensor) -> None:
        """Close the images whose point lies in the ball and is misclassified by the exact model."""
        norm, eps = self.settings.norm, self.settings.eps
        centers = self.state.clean[positions].to(points.device)
        inside = threat.distances(points, centers, norm=norm) <= eps * (1 + ROUNDING)
        kept = inside.nonzero().flatten().tolist()
        if not kept:
            return
        points = threat.tighten(points[kept], centers[kept], norm=norm, eps=eps)
        where = [positions[i] for i in kept]
        logits = self.inputs.exact_model.logits(points).float().cpu()
        refuse_nonfinite("logits", ~logits.isfinite().all(1), self.state.index[where])
        wrong = (logits.argmax(1) != self.state.labels[where]).nonzero().flatten()
        if len(wrong):
            rows = wrong.to(points.device)
            self.state.close([where[i] for i in wrong.tolist()], points[rows], logits[wrong])
