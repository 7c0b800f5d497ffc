"""What rt-train and rt-eval print: the plan before a run, the rows after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robust_transfer import store
from robust_transfer.config import CheckpointConfig, DataConfig, TrainingConfig
from robust_transfer.facts import expected_train_images, missing_input
from robust_transfer.plan import Stage
from robust_transfer.store import StageDirectory

if TYPE_CHECKING:
    from robust_transfer.cli.launching import PlannedJob


def show(jobs: Sequence[PlannedJob], *, measure: bool) -> int:
    """Print every stage of a sweep once, with its state and cost; 2 if something is missing, else 0."""
    measured = _measured(jobs) if measure else {}
    lines: list[tuple[str, ...]] = []
    lacks: dict[str, str] = {}
    seen: dict[str, int] = {}
    total, unknown = 0.0, 0
    for job in jobs:
        finished = _finished(job.config.store)
        for stage in job.stages:
            if stage.key in seen:
                seen[stage.key] += 1
                continue
            seen[stage.key] = 1
            state = stage.directory(job.config.store).state()
            lack = None if state == "done" else missing_input(stage, job.config.data)
            if lack:
                state, lacks[stage.dataset.name] = "blocked", lack
            hours = _hours(stage, state, finished, measured)
            if hours is None:
                unknown += 1
            else:
                total += hours
            lines.append((stage.kind, *_what(stage), stage.key[:12], state, _hours_text(hours)))
    print(_table(("stage", "what", "on", "key", "state", "hours"), lines))
    shared = sum(count > 1 for count in seen.values())
    print(
        f"{len(seen)} stages, {shared} shared between runs; "
        f"cost: {total:.2f} hours known, {unknown} stages unknown."
    )
    if unknown and not measure:
        print("Cost comes from finished stages of the same recipe; --plan --measure times a few steps.")
    for name, lack in lacks.items():
        print(f"{name}: DATA MISSING: {lack}\n  rt-data status {name}")
    return 2 if lacks else 0


def show_evaluations(stages: Sequence[Stage], root: str, data: DataConfig) -> int:
    """Print the evaluations of a checkpoint with their states."""
    lines, lacks = [], []
    for stage in stages:
        state = stage.directory(root).state()
        lack = None if state == "done" else missing_input(stage, data)
        if lack:
            state = "blocked"
            lacks.append(lack)
        lines.append((stage.kind, *_what(stage), stage.key[:12], state))
    print(_table(("stage", "what", "on", "key", "state"), lines))
    for lack in dict.fromkeys(lacks):
        print(f"DATA MISSING: {lack}")
    return 2 if lacks else 0


def rows(outcomes: Sequence[Sequence[StageDirectory]]) -> str:
    """Return the result rows of finished runs: one line an evaluation, keys, where they are."""
    lines = []
    directories = list(dict.fromkeys(d for outcome in outcomes for d in outcome))
    for directory in directories:
        if directory.kind != "eval":
            continue
        summary = directory.summary()
        lineage, metrics = summary["lineage"], summary["metrics"]
        lines.append(
            (
                f"{lineage.get('pretrain')} -> {lineage.get('finetune') or '-'}",
                summary["dataset"],
                evaluator_name(summary),
                _percent(summary, "sa"),
                _percent(summary, "ra"),
                _number(metrics.get("acr")),
                str(summary["num_images"]),
                directory.key,
            )
        )
    if not lines:
        return "\n".join(f"{d.kind} {d.key} {d.path}" for d in directories)
    head = ("model", "dataset", "evaluator", "SA %", "RA %", "ACR", "n", "key")
    parts = [_table(head, lines)]
    notes = [
        f"  {d.key}: {note}"
        for d in directories
        if d.kind == "eval"
        for note in [*d.summary()["marks"], *d.summary()["flags"]]
    ]
    parts.extend(["marks and flags:", *notes] if notes else [])
    parts.append(
        f"each stage: rt-report show KEY (95 % intervals there), in {directories[0].path.parent.parent}"
    )
    return "\n".join(parts)


def evaluator_name(summary: dict[str, Any]) -> str:
    """Name an evaluator with what its number depends on: steps x restarts, or sigma and n."""
    settings, name = summary["settings"], summary["evaluator"]
    if name == "certify":
        return f"certify s={settings['sigma']:g} n={settings['n']}"
    if "num_restarts" in settings:
        return f"{name} {settings['num_steps']}x{settings['num_restarts']}"
    return str(name)


def _percent(summary: dict[str, Any], metric: str) -> str:
    value = summary["metrics"].get(metric)
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _what(stage: Stage) -> tuple[str, str]:
    lineage = stage.lineage
    if stage.kind == "eval":
        return stage.label.split("-")[0], stage.dataset.name
    if stage.kind == "pretrain":
        return str(lineage["pretrain"]), stage.dataset.name if "source" in lineage else "file"
    return f"{lineage['finetune']} <- {lineage['pretrain']}", stage.dataset.name


# ---------------------------------------------------------------- cost


def _recipe(identity: dict[str, Any]) -> str:
    """Name what the cost of a step depends on."""
    method = identity.get("method") or {}
    names = ("name", "batch_size", "micro_batch", "precision", "attack", "num_noise_samples")
    return repr([identity.get("model"), [method.get(name) for name in names]])


def _finished(root: str) -> dict[str, float]:
    """Return seconds a step of every recipe that finished in this store."""
    import yaml

    found = {}
    for directory in store.scan(root):
        status = directory.status()
        if directory.kind == "eval" or status.get("state") != store.DONE or not status.get("steps"):
            continue
        config = yaml.safe_load((directory.path / "config.yaml").read_text())
        found[_recipe(config["identity"])] = status["wall_seconds"] / status["steps"]
    return found


def _measured(jobs: Sequence[PlannedJob]) -> dict[str, float]:
    """Time a few steps of every recipe that must run, on this machine."""
    from robust_transfer.training.measure import seconds_per_step

    found: dict[str, float] = {}
    for job in jobs:
        for stage in job.stages:
            if not isinstance(stage.config, TrainingConfig) or _recipe(stage.identity) in found:
                continue
            if stage.directory(job.config.store).state() != "done":
                found[_recipe(stage.identity)] = seconds_per_step(
                    stage.config, stage.model, job.config.runtime, num_classes=10
                )
    return found


def _hours(stage: Stage, state: str, finished: dict[str, float], measured: dict[str, float]) -> float | None:
    if state == "done" or isinstance(stage.config, CheckpointConfig):
        return 0.0
    if not isinstance(stage.config, TrainingConfig):
        return None
    seconds = measured.get(_recipe(stage.identity), finished.get(_recipe(stage.identity)))
    steps = total_steps(stage)
    return None if seconds is None or steps is None else seconds * steps / 3600


def total_steps(stage: Stage) -> int | None:
    """Return a training stage's steps as far as the catalogue tells, or None."""
    config = stage.config
    images = stage.generated or expected_train_images(stage.dataset)
    if images is None:
        return config.max_steps
    per_epoch = max(1, images // config.batch_size)
    by_epochs = None if config.epochs is None else config.epochs * per_epoch
    return min((s for s in (by_epochs, config.max_steps) if s is not None), default=None)


def _hours_text(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return "-" if hours == 0 else f"{hours:.2f}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(str(row[i])) for row in [head, *lines]) for i in range(len(head))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *lines]
    )
