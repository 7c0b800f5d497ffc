"""What rt-train and rt-eval print: the plan before a run, the rows after it."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from robust_transfer.config.data import DataConfig
from robust_transfer.config.evaluators import evaluator_spec
from robust_transfer.core.columns import columns, terminal_width
from robust_transfer.pipeline import cost
from robust_transfer.pipeline.inputs import missing_input
from robust_transfer.pipeline.stage import Stage, older_stages
from robust_transfer.store.directories import StageDirectory
from robust_transfer.store.records import Summary

if TYPE_CHECKING:
    from robust_transfer.cli.launching import PlannedJob


def show(jobs: Sequence[PlannedJob], *, measure: bool, as_json: bool = False) -> int:
    """Print every stage of a sweep once, with its state and cost; 2 if something is missing, else 0."""
    stages: dict[str, tuple[Stage, PlannedJob]] = {}
    uses: dict[str, int] = {}
    for job in jobs:
        for stage in job.stages:
            stages.setdefault(stage.key, (stage, job))
            uses[stage.key] = uses.get(stage.key, 0) + 1
    rates = cost.finished_rates(jobs[0].config.store)
    to_run = {stage.key: stage for job in jobs for stage in job.due}
    if measure:
        rates |= cost.measured_rates(list(to_run.values()), jobs[0].config.runtime)
    lines: list[tuple[str, ...]] = []
    facts: list[dict[str, Any]] = []
    lacks: dict[str, str] = {}
    due: list[tuple[str, cost.Cost]] = []
    ran_on: dict[str, None] = {}
    for stage, job in stages.values():
        state = stage.directory(job.config.store).state() if stage.key in to_run else "done"
        start = (stage.kind, *_what(stage), stage.key[:12])
        facts.append({**dict(zip(("kind", "what", "on", "key"), start, strict=True)), "state": state})
        if state == "done":
            lines.append((*start, state, "-", "-", "-"))
            continue
        if (lack := missing_input(stage, job.config.data)) is not None:
            state, lacks[stage.dataset.shown_name] = "blocked", lack
        rate = rates.get(cost.recipe(stage.identity, stage.lineage))
        own = cost.cost(stage, rate)
        due.append((stage.kind, own))
        if rate is not None:
            ran_on[rate.device or "a device without a name"] = None
        facts[-1] |= {"state": state, "missing": lack, **dataclasses.asdict(own)}
        facts[-1]["timed_on"] = rate and rate.device
        lines.append((*start, state, _count(own.steps), _count(own.passes), _hours_text(own.hours)))
    if as_json:
        print(json.dumps(facts, indent=2))
        return 2 if lacks else 0
    head = ("stage", "what", "on", "key", "state", "steps", "passes", "time")
    print(columns([head, *lines], terminal_width()))
    print(_totals(len(stages), sum(number > 1 for number in uses.values()), due, measure))
    if ran_on:
        print(f"timed on: {', '.join(ran_on)}.")
    for name, lack in lacks.items():
        print(_filled(f"{name}: DATA MISSING: {lack}") + f"\n  rt-data status {name}")
    _tell_older(jobs[0].config.store)
    return 2 if lacks else 0


def _tell_older(store: str) -> None:
    if number := older_stages(store):
        print(
            f"{number} stages in {store} are of an older format and are not reused: their keys were made of "
            "other fields;\n  rt-report shows, tabulates and verifies them"
        )


def _totals(stages: int, shared: int, due: Sequence[tuple[str, cost.Cost]], measure: bool) -> str:
    hours = [found.hours for _, found in due if found.hours is not None]
    unknown = len(due) - len(hours)
    lines = [
        f"{stages} stages, {shared} shared between runs, {len(due)} to run; "
        f"{_hours_text(sum(hours))} known, {unknown} stages unknown."
    ]
    if due:
        kinds = dict.fromkeys(kind for kind, _ in due)
        lines.append("to run: " + "; ".join(_of_kind(kind, due) for kind in kinds) + ".")
        memory = _gigabytes([found.memory_bytes for _, found in due], max)
        disk = _gigabytes([found.disk_bytes for _, found in due], sum)
        lines.append(f"memory of a process: {memory}; disk: {disk}.")
    if unknown and not measure:
        lines.append("Hours, memory and disk come from finished stages of the same recipe;")
        lines.append("--plan --measure times a few steps here.")
    return "\n".join(lines)


def _of_kind(kind: str, due: Sequence[tuple[str, cost.Cost]]) -> str:
    """Say what the stages of a kind cost: replicates of a pre-training are the dear ones."""
    found = [one for other, one in due if other == kind]
    hours = [one.hours for one in found if one.hours is not None]
    passes = [one.passes for one in found if one.passes is not None]
    parts = [f"{len(found)} {kind}"]
    parts += [f"{_count(sum(passes))} passes"] if len(passes) == len(found) else []
    parts += [_hours_text(sum(hours))] if len(hours) == len(found) else []
    return ", ".join(parts)


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
    print(columns([("stage", "what", "on", "key", "state"), *lines], terminal_width()))
    for lack in dict.fromkeys(lacks):
        print(_filled(f"DATA MISSING: {lack}"))
    _tell_older(root)
    return 2 if lacks else 0


def rows(outcomes: Sequence[Sequence[StageDirectory]]) -> str:
    """Return the result rows of finished runs: one line per evaluation, keys, where they are."""
    lines = []
    directories = list(dict.fromkeys(d for outcome in outcomes for d in outcome))
    for directory in directories:
        if directory.kind != "eval":
            continue
        summary = directory.summary()
        if summary is None:
            continue
        lineage = summary.lineage
        evaluator = evaluator_spec(summary.evaluator).short_line(summary.settings)
        lines.append(
            (
                f"{lineage.pretrain} -> {lineage.finetune or '-'}",
                summary.dataset,
                evaluator,
                _percent(summary, "sa"),
                _percent(summary, "ra"),
                _number(summary.metrics.get("acr")),
                str(summary.num_images),
                directory.key,
            )
        )
    if not lines:
        return "\n".join(f"{d.kind} {d.key} {d.path}" for d in directories)
    head = ("model", "dataset", "evaluator", "SA %", "RA %", "ACR", "n", "key")
    parts = [columns([head, *lines], terminal_width())]
    notes = [
        f"  {d.key}: {note}"
        for d in directories
        if d.kind == "eval"
        if (summary := d.summary())
        for note in (*summary.marks, *summary.flags)
    ]
    parts.extend(["marks and flags:", *notes] if notes else [])
    parts.append(
        f"each stage: rt-report show KEY (95 % intervals there), in {directories[0].path.parent.parent}"
    )
    return "\n".join(parts)


def _percent(summary: Summary, metric: str) -> str:
    value = summary.metrics.get(metric)
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _what(stage: Stage) -> tuple[str, str]:
    lineage = stage.lineage
    if stage.kind == "eval":
        return stage.label.split("-")[0], stage.dataset.shown_name
    if stage.kind == "pretrain":
        return str(lineage.pretrain), stage.dataset.shown_name if lineage.source else "file"
    return f"{lineage.finetune} <- {lineage.pretrain}", stage.dataset.shown_name


def _count(value: int | None) -> str:
    """Write a count in at most five characters."""
    if value is None:
        return "-"
    for unit in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000  # type: ignore[assignment]
    return f"{value:.3g}T"


def _hours_text(hours: float | None) -> str:
    """Write a time with two digits, in days from two of them on: it is an estimate."""
    if hours is None:
        return "unknown"
    value, unit = (hours / 24, "days") if hours >= 48 else (hours, "hours")
    if value == 0 or value >= 9.95:
        return f"{float(f'{value:.2g}'):.0f} {unit}"
    return f"{value:#.2g} {unit}" if value >= 0.001 else f"under 0.001 {unit}"


def _filled(text: str) -> str:
    width = terminal_width()
    return textwrap.fill(text, width, subsequent_indent="  ") if width else text


def machine_line(jobs: Sequence[PlannedJob]) -> str:
    """Name the device, and how long what is due will take as far as finished stages tell; loads torch."""
    import torch

    from robust_transfer.distributed.devices import choose_kind, device_name

    config = jobs[0].config
    kind = choose_kind(config.runtime.device)
    none = " (no GPU found)" if kind == "cpu" and config.runtime.device == "auto" else ""
    device = device_name(torch.device(kind))
    rates = cost.finished_rates(config.store, device)
    due = {stage.key: stage for job in jobs for stage in job.due}.values()
    hours = [cost.cost(one, rates.get(cost.recipe(one.identity, one.lineage))).hours for one in due]
    known = [one for one in hours if one is not None]
    time = (
        f"about {_hours_text(sum(known))}" if len(known) == len(hours) else "time unknown: --plan --measure"
    )
    return f"device: {device}{none}" + (f"; {time}" if due else "")


def first_line(jobs: Sequence[PlannedJob]) -> str:
    """Say before anything slow what will run: how many stages, the first one with its images and steps."""
    due = {stage.key: stage for job in jobs for stage in job.due}
    if not due:
        return "every stage is done"
    first = next(iter(due.values()))
    what, on = _what(first)
    amounts = [("steps", cost.total_steps(first)), ("images", cost.images(first))]
    told = ", ".join(f"{number:,} {name}" for name, number in amounts if number is not None)
    number = f"{len(due)} stage{'s' * (len(due) != 1)} to run"
    return f"{number}; first {first.kind} {what} on {on}" + (f": {told}" if told else "")


def _gigabytes(amounts: Sequence[int | None], combine: Callable[[list[int]], int]) -> str:
    known = [amount for amount in amounts if amount is not None]
    if not known:
        return "unknown"
    text = f"{combine(known) / 2**30:.2f} GB"
    return text if len(known) == len(amounts) else f"{text} ({len(known)} of {len(amounts)} stages known)"
