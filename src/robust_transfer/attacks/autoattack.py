"""AutoAttack: a list of attacks, each on what the ones before it left robust.

Croce & Hein 2020 (arXiv 2003.01690): APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB,
Square. The two APGDs are ours; FAB and Square are the package pyautoattack's. The L1 version is that of
Croce & Hein 2021 (arXiv 2103.01208).
"""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from robust_transfer.attacks import threat
from robust_transfer.attacks.apgd import auto_rule
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.attacks.guarded import Call, Sample, check_after, check_before, measured, prepared
from robust_transfer.attacks.notes import BLACK_BOX
from robust_transfer.attacks.packaged import attack_classes, constant_shape, fab_point, square_point
from robust_transfer.attacks.randomised import attack_randomised
from robust_transfer.attacks.runner import AttackInputs, run_attack
from robust_transfer.attacks.settings import ROUNDED, AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState
from robust_transfer.attacks.storage import as_stored
from robust_transfer.core import rng
from robust_transfer.core.choices import MIN_CLASSES
from robust_transfer.core.errors import EvaluationError, did_you_mean
from robust_transfer.core.numerics import exact_arithmetic
from robust_transfer.models.callables import Model

CLEAN, CE, DLR, TARGETED = "clean", "apgd-ce", "apgd-dlr", "apgd-t"
FAB, FAB_TARGETED, SQUARE = "fab", "fab-t", "square"
LOSSES = {CE: "ce", DLR: "dlr", TARGETED: "dlr_targeted"}
VERSIONS = {
    "standard": (CE, TARGETED, FAB_TARGETED, SQUARE),
    "plus": (CE, DLR, FAB, SQUARE, TARGETED, FAB_TARGETED),
    "rand": (CE, DLR),
}
RESTARTS = 5  # of the untargeted APGDs and of FAB in version "plus", and of APGD-CE in L1
NUM_FAB_TARGETS = 9
LENGTH = 20  # of all four attacks on a robust image, in runs of the first
RAND_EOT = 20
STANDARD = (100, 5000)  # steps, queries
ROUNDING = 1e-5


@dataclass
class AutoAttackResult(AttackResult):
    """As `AttackResult`; `broken_by` names for each image the attack that broke it.

    Attributes
    ----------
    broken_by : "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"; "clean" for a clean mistake, "8bit"
        where rounding alone did, "" for a robust image and for expected accuracy (version "rand")
    gradient_steps : as in `AttackResult`, FAB's included; Square takes none
    attacks : what each attack did, in order: its name, the images it was run on, those it broke
    """

    broken_by: list[str] = field(default_factory=list)
    attacks: list[AttackRecord] = field(default_factory=list)


class AttackRecord(NamedTuple):
    """What one of the attacks did."""

    name: str
    attacked: int
    broken: int


def autoattack(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str = "l2",
    eps: float = 0.5,
    version: str | Sequence[str] = "standard",
    num_steps: int = 100,
    num_queries: int = 5000,
    batch_size: int = 128,
    shapes: str = "ladder",
    storage: str = "float",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    guards: str = "fast",
    gradient_model: Model | None = None,
    fast: bool = True,
    sample: Sample | None = None,
) -> AutoAttackResult:
    """Attack each image by AutoAttack's components until one breaks it; robust means robust to all.

    With fewer classes than a DLR loss needs, its attack is left out and a flag says so.

    Note: an image's result does not depend on the other images. Noise of the APGDs and what Square draws for
    an image is keyed by (seed, index); the places of Square's squares are shared by all images and keyed by
    the seed; FAB draws nothing. Only rounding of another forward shape is left (`shapes`). The authors' code
    seeds anew for every batch.

    Parameters
    ----------
    model, images, labels, norm, eps, batch_size, shapes, storage, index, gradient_model, fast, sample : as in
        `autopgd`
    version : "standard" (APGD-CE, APGD-T, FAB-T, Square; in L1 APGD-CE with 5 restarts, APGD-T on 5 targets),
        "plus" (APGD-CE, APGD-DLR and FAB with 5 restarts each, Square, APGD-T, FAB-T), "rand" (APGD-CE and
        APGD-DLR by gradients averaged over 20 draws, for randomised models: `robust` is the expected accuracy
        at the worst of their points), or a list
    num_steps : steps of the APGDs and of FAB
    num_queries : forward passes of Square; other numbers than AutoAttack's 100 and 5000 are flagged
    guards : of the first attack, which sees all images; the others attack the same model

    Raises
    ------
    EvaluationError : as in `autopgd`; the package pyautoattack is missing
    """
    attack_classes()
    names = attacks_of(version)
    settings = AttackSettings(
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        loss="ce",
        num_eot=RAND_EOT if version == "rand" else 1,
        batch_size=batch_size,
        shapes=shapes,
        storage=storage,
        seed=seed,
        guards=guards,
        new_rule=auto_rule,
    )
    call = Call(model, images, labels, index, None, gradient_model, fast=LENGTH if fast else 0)
    with prepared(settings, call) as inputs:
        state = inputs.new_state()
        flags = check_before(settings, inputs, state, sample)
        flags += _departures(settings, num_queries, version)
        missing = [name for name in names if _classes(name) > inputs.logits.shape[1]]
        flags += [
            f"few_classes: {name} needs {_classes(name)} classes (found {inputs.logits.shape[1]}) and was "
            "left out"
            for name in missing
        ]
        names = tuple(name for name in names if name not in missing)
        run = _Run(settings, inputs, state, num_queries, version == "plus")
        if version == "rand":
            attack_randomised(settings, inputs, state, [LOSSES[name] for name in names])
            run.broken_by = [""] * len(run.broken_by)
        else:
            for number, name in enumerate(names):
                run.attack(name, guarded=number == 0)
        result = measured(settings, state, flags)
        result = as_stored(settings, inputs.exact_model, state, result, list(range(len(inputs.images))))
    if settings.storage == ROUNDED:
        # Rounding may undo what an attack broke, and break what none did.
        broken_by = [
            "" if robust else name or ROUNDED
            for robust, name in zip(result.robust.tolist(), run.broken_by, strict=True)
        ]
    else:
        broken_by = run.broken_by
    return AutoAttackResult(**vars(result), broken_by=broken_by, attacks=run.records)


def attacks_of(version: str | Sequence[str]) -> tuple[str, ...]:
    """Return the attacks of a version, or of a list of them; refuse other names."""
    if isinstance(version, str) and version in VERSIONS:
        return VERSIONS[version]
    names = (version,) if isinstance(version, str) else tuple(version)
    known = (*LOSSES, FAB, FAB_TARGETED, SQUARE)
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"version: expected {', '.join(VERSIONS)} or a list of {', '.join(known)} (found '{name}')",
                did_you_mean(str(name), (*VERSIONS, *known)),
            )
    if not names or len(set(names)) < len(names):
        raise EvaluationError(f"version: expected different attacks, at least one (found {names})")
    return names


def _classes(name: str) -> int:
    return MIN_CLASSES[LOSSES[name]] if name in LOSSES else 2


def _departures(settings: AttackSettings, num_queries: int, version: str | Sequence[str]) -> list[str]:
    """Flag what is not AutoAttack's standard."""
    flags = []
    if (settings.num_steps, num_queries) != STANDARD:
        steps = f"{settings.num_steps} steps, {num_queries} queries"
        flags.append(f"not_standard: {steps} (AutoAttack's: 100, 5000)")
    if version != "standard":
        text = version if isinstance(version, str) else ", ".join(version)
        flags.append(f"not_standard: version {text}")
    return flags


class _Run:
    """The attacks on one state; nothing reopens an image that one of them has broken."""

    def __init__(
        self,
        settings: AttackSettings,
        inputs: AttackInputs,
        state: AttackState,
        num_queries: int,
        plus: bool,
    ) -> None:
        self.settings, self.inputs, self.state = settings, inputs, state
        self.num_queries = num_queries
        self.fab_restarts = RESTARTS if plus else 1
        self.apgd_restarts = RESTARTS if plus or settings.norm == "l1" else 1
        self.num_classes = inputs.logits.shape[1]
        self.broken_by = ["" if robust else CLEAN for robust in state.robust.tolist()]
        self.records: list[AttackRecord] = []
        self.predict = constant_shape(inputs.gradient_model, settings.batch_size, settings.shapes)

    def attack(self, name: str, *, guarded: bool) -> None:
        """Run one attack on what is left, and the checks that follow the first one."""
        opened = self.state.open_positions()
        if name in LOSSES:
            self._apgd(name)
        elif name == SQUARE:
            self._square()
        else:
            self._fab(targeted=name == FAB_TARGETED)
        if guarded and name in LOSSES:
            check_after(replace(self.settings, loss=LOSSES[name]), self.inputs, self.state)
        broken = [position for position in opened if not self.state.robust[position]]
        for position in broken:
            self.broken_by[position] = name
        self.records.append(AttackRecord(name, len(opened), len(broken)))
        if name == SQUARE:
            self.state.note(BLACK_BOX, broken)

    def _apgd(self, name: str) -> None:
        opened = self.state.open_positions()
        self.state.forget_runs(opened)
        restarts = 1 if name == TARGETED else self.apgd_restarts
        settings = replace(self.settings, loss=LOSSES[name], num_restarts=restarts)
        run_attack(settings, self.inputs, self.state, opened)

    def _fab(self, *, targeted: bool) -> None:
        """Run FAB class by class on what each leaves, or untargeted from the image and from random points."""
        ranks = range(2, 2 + min(NUM_FAB_TARGETS, self.num_classes - 1))
        for positions in self._batches():
            for rank in ranks if targeted else (None,):
                self._fab_once(positions, rank)
        for restart in range(1, 1 if targeted else self.fab_restarts):
            # What FAB draws is drawn for a whole batch: one image at a time, its draws are its own.
            for position in self.state.open_positions():
                name = int(self.state.index[position])
                with rng.global_state(self.settings.seed, "fab", name, restart):
                    self._fab_once([position], None, random_start=True)

    def _fab_once(self, positions: list[int], rank: int | None, *, random_start: bool = False) -> None:
        settings = self.settings
        opened = [position for position in positions if self.state.robust[position]]
        if not opened:
            return
        with exact_arithmetic(self.inputs.exact_model.device):
            points = fab_point(
                self.predict,
                *self._images_and_labels(opened),
                norm=settings.norm,
                eps=settings.eps,
                num_steps=settings.num_steps,
                rank=rank,
                random_start=random_start,
            )
        self.state.gradient_steps[opened] += settings.num_steps
        self._confirm(opened, points)

    def _square(self) -> None:
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
