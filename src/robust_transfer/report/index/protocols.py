"""Which runs of a store may stand in one table: nothing is compared that was measured differently.

A protocol is everything that two runs must share to be compared on one target: the evaluator's settings,
the images, the model's shape and the training recipe, but not the pre-training and no seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from robust_transfer.config.evaluator import RA_RADIUS
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.recipes import finetune_recipe, pretrain_recipe

# What differs between the cells and the seeds of one table, and what says nothing about the numbers.
FREE_LINEAGE = {"seed", "split_seed", "dataset", "source", "finetune_key", "experiment", "key"}
FREE_SETTINGS = {"seed", "batch_size", "allow_sigma_mismatch", "allow_nonfinite"}


@dataclass(frozen=True)
class Requirements:
    """What a table requires of its runs.

    source : data of pre-training, None for any
    experiment : preset whose runs come first where a store holds several protocols
    threat : (norm, eps) of attacks, None for any
    train_fraction : share of the training set that models saw, None for all
    own : hold only protocols in which the experiment itself has a run
    """

    source: str | None
    experiment: str
    threat: tuple[str, float] | None = ("l2", RA_RADIUS)
    train_fraction: float | None = None
    own: bool = False


@dataclass(frozen=True)
class Choice:
    """The runs of a table's cells, and the runs of these cells that were left out, each with the reason."""

    runs: dict[Cell, tuple[Run, ...]]
    left_out: tuple[tuple[Run, str], ...]


def choose(index: Index, cells: Iterable[Cell], needs: Requirements) -> Choice:
    """Pick for each target the one protocol that fills most of `cells`, and one run per seed."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    chosen: dict[Cell, tuple[Run, ...]] = {}
    left_out: list[tuple[Run, str]] = []
    for members in groups.values():
        usable: dict[Cell, list[Run]] = {}
        for cell in dict.fromkeys(members):
            for run in index.by_cell.get(cell, []):
                reason = _unusable(run, needs)
                if reason:
                    left_out.append((run, reason))
                else:
                    usable.setdefault(cell, []).append(run)
        picked, others = _best_protocol(usable, needs, index)
        left_out += others
        for cell, runs in picked.items():
            same, others = _best_pretraining(runs, needs, index)
            chosen[cell], repeated = _one_per_seed(same, needs)
            left_out += [*others, *repeated]
    return Choice(chosen, tuple(left_out))


def protocol(run: Run, index: Index) -> dict[str, Any]:
    """Return what a run must share with those it is compared with."""
    lineage = {
        name: value
        for name, value in run.lineage.values().items()
        if name not in FREE_LINEAGE and not name.startswith("pretrain") and value is not None
    }
    settings = {name: value for name, value in run.settings.items() if name not in FREE_SETTINGS}
    images = {"subset": run.summary.subset, "num_images": run.num_images}
    recipe = {f"finetune.{name}": value for name, value in finetune_recipe(index, run).items()}
    return {**recipe, **lineage, **settings, **images}


def _unusable(run: Run, needs: Requirements) -> str | None:
    if run.summary.split != "test":
        return f"measured on split {run.summary.split}"
    if needs.source and run.lineage.pretrain != "none" and run.lineage.source not in (needs.source, None):
        return f"pre-trained on {run.lineage.source}, the table holds {needs.source}"
    fraction = run.lineage.train_fraction
    if fraction != needs.train_fraction:
        return f"trained on another part of the training set (train_fraction={fraction})"
    threat = run.spec.threat(run.settings)
    if needs.threat and threat and threat != needs.threat:
        required = "{} eps={}".format(*needs.threat)
        return f"attacked at {threat[0]} eps={threat[1]}, the table holds {required}"
    return None


def _best_protocol(
    usable: dict[Cell, list[Run]], needs: Requirements, index: Index
) -> tuple[dict[Cell, list[Run]], list[tuple[Run, str]]]:
    by_protocol: dict[str, dict[Cell, list[Run]]] = {}
    for cell, runs in usable.items():
        for run in runs:
            text = json.dumps(protocol(run, index), sort_keys=True)
            by_protocol.setdefault(text, {}).setdefault(cell, []).append(run)
    if not by_protocol:
        return {}, []

    def is_own(text: str) -> bool:
        runs = (run for group in by_protocol[text].values() for run in group)
        return any(run.lineage.experiment == needs.experiment for run in runs)

    def worth(text: str) -> tuple[Any, ...]:
        members = by_protocol[text]
        runs = [run for group in members.values() for run in group]
        spec, settings = runs[0].spec, runs[0].settings
        measured, effort = len(spec.measured(settings)), spec.passes_per_image(settings)
        return is_own(text), len(members), measured, effort, len(runs), text

    best = max(by_protocol, key=worth)
    if needs.own and not is_own(best):
        reason = f"measured or trained as no run of experiment={needs.experiment}"
        return {}, [(run, reason) for runs in usable.values() for run in runs]
    others = [
        (run, "measured or trained otherwise: " + _difference(best, text))
        for text, members in sorted(by_protocol.items())
        if text != best
        for group in members.values()
        for run in group
    ]
    return by_protocol[best], others


def _difference(best: str, other: str) -> str:
    chosen, rejected = json.loads(best), json.loads(other)
    names = sorted(name for name in {*chosen, *rejected} if chosen.get(name) != rejected.get(name))
    return ", ".join(f"{name}={rejected.get(name)} (table: {chosen.get(name)})" for name in names[:3])


def _best_pretraining(
    runs: list[Run], needs: Requirements, index: Index
) -> tuple[list[Run], list[tuple[Run, str]]]:
    """Keep the runs of one pre-training recipe: the preset's, then the one with most runs."""
    by_recipe: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {f"pretrain.{name}": value for name, value in pretrain_recipe(index, run).items()}
        by_recipe.setdefault(json.dumps(recipe, sort_keys=True), []).append(run)

    def worth(text: str) -> tuple[Any, ...]:
        preset = any(run.lineage.experiment == needs.experiment for run in by_recipe[text])
        return preset, len(by_recipe[text]), text

    best = max(by_recipe, key=worth)
    others = [
        (run, "pre-trained otherwise: " + _difference(best, text))
        for text, group in sorted(by_recipe.items())
        if text != best
        for run in group
    ]
    return by_recipe[best], others


def _one_per_seed(runs: list[Run], needs: Requirements) -> tuple[tuple[Run, ...], list[tuple[Run, str]]]:
    """Keep one run for each combination of seeds: the preset's, then the first by key."""
    kept: dict[tuple[tuple[str, int | None], ...], Run] = {}
    repeated = []
    for run in sorted(runs, key=lambda r: (r.lineage.experiment != needs.experiment, r.key)):
        seeds = tuple(run.seeds.items())
        if seeds in kept:
            repeated.append((run, f"the same seeds as {kept[seeds].key}, other training settings"))
        else:
            kept[seeds] = run
    ordered = sorted(
        kept.values(), key=lambda r: ([s if s is not None else -1 for s in r.seeds.values()], r.key)
    )
    return tuple(ordered), repeated
