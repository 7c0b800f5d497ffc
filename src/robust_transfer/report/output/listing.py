"""The index of a store as text, and one stage in full."""

from __future__ import annotations

from robust_transfer.core.columns import columns, terminal_width
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.costs import duration
from robust_transfer.report.study.wording import interval_text, metric_text, model_text
from robust_transfer.store.directories import DONE, StageDirectory
from robust_transfer.store.records import Lineage, Status

HEADER = ("key", "evaluator", "dataset", "model", "seed", "n", "SA", "RA", "ACR", "marks")


def runs_text(index: Index) -> str:
    """List every evaluation, then every training stage, one line each."""
    rows = [_run_row(run) for run in (*index.runs, *index.smoke)]
    rows += [_unfinished_row(stage) for stage in index.unfinished]
    stages = [_stage_row(stage) for stage in index.training.values()]
    if not rows and not stages:
        return f"no runs in {index.root}; to begin: rt-train experiment=quickstart\n"
    evaluations = columns([HEADER, *rows], terminal_width()) + "\n" if rows else "no evaluation yet\n"
    head = ("key", "kind", "what", "state", "steps", "time")
    training = columns([head, *stages], terminal_width()) + "\n" if stages else ""
    return evaluations + ("\n" if training else "") + training


def _run_row(run: Run) -> tuple[str, ...]:
    seed = run.lineage.seed
    values = (metric_text(metric, run.metrics.get(metric)) for metric in TITLES)
    place = (run.key, run.evaluator, run.cell.target, model_text(run.lineage))
    return (*place, "–" if seed is None else str(seed), str(run.num_images), *values, ", ".join(run.marks))


def _unfinished_row(stage: StageDirectory) -> tuple[str, ...]:
    evaluator, dataset = (*stage.path.name.split("-"), "?")[:2]
    state = stage.status().state or "empty"
    return (stage.key, evaluator, dataset, "", "", "", "–", "–", "–", f"not finished ({state})")


def _stage_row(stage: StageDirectory) -> tuple[str, ...]:
    status = stage.status()
    what = stage.path.name.removesuffix(f"-{stage.key}")
    steps = str("–" if status.steps is None else status.steps)
    return (stage.key, stage.kind, what, status.state or "empty", steps, duration(_seconds(status)))


def _seconds(status: Status) -> float | None:
    return status.wall_seconds if status.state == DONE else None


def show_text(stage: StageDirectory, index: Index) -> str:
    """Write everything that the store holds of one stage."""
    lines = stage_lines(stage, index)
    width = max(len(name) for name, _ in lines)
    return stage.path.name + "\n" + "".join(f"  {name.ljust(width)}  {text}\n" for name, text in lines)


def stage_lines(stage: StageDirectory, index: Index) -> list[tuple[str, str]]:
    """Return everything that the store holds of one stage, by name."""
    status = stage.status()
    lines: list[tuple[str, str]] = [("directory", str(stage.path)), ("state", stage.state())]
    run = next((r for r in (*index.runs, *index.smoke) if r.path == stage.path), None)
    lines += _run_lines(run) if run else _training_lines(stage, status, index)
    if status.error:
        lines.append(("error", status.error))
    return lines


def _run_lines(run: Run) -> list[tuple[str, str]]:
    lines = [("measured", run.settings_line), ("images", _images_text(run))]
    for metric, value in run.metrics.items():
        if value is None:
            continue
        stated = run.intervals.get(metric) or {}
        interval = interval_text(metric, stated.get("low"), stated.get("high"))
        text = f"{_with_unit(metric, value)} {interval} {stated.get('method', '')}"
        lines.append((TITLES.get(metric, metric.replace("_", " ")), " ".join(text.split())))
    lines += run.statements
    lineage = run.lineage
    lines.append(("model", lineage_text(lineage)))
    keys = (("pretrain", lineage.pretrain_key), ("finetune", lineage.finetune_key))
    stages = [f"{name} {key}" for name, key in keys if key]
    return [
        *lines,
        ("stages", ", ".join(stages) or str(run.summary.parent)),
        ("marks", ", ".join(run.marks) or "none"),
        ("flags", "; ".join(run.summary.flags) or "none"),
        ("time", f"{duration(run.summary.wall_seconds)} on {run.summary.device or 'unknown'}"),
        ("commit", run.commit),
    ]


def _images_text(run: Run) -> str:
    subset = run.summary.subset
    rule = "by skipping" if run.settings.get("subset_rule") == "skip" else "evenly spaced"
    spaced = f", {subset} {rule}" if subset else ""
    return f"{run.num_images} of {run.dataset} {run.summary.split}{spaced}"


def _with_unit(metric: str, value: float | None) -> str:
    if metric.endswith("per_class"):
        return "–" if value is None else f"{100 * value:.1f} % mean per class"
    unit = " L2" if metric == "acr" else " %"
    return metric_text(metric, value) + (unit if value is not None else "")


def lineage_text(lineage: Lineage) -> str:
    """Describe how a model was trained."""
    source = f" on {lineage.source} (seed {lineage.pretrain_seed})" if lineage.source else ""
    tune = f", fine-tuned by {lineage.finetune} (seed {lineage.seed})" if lineage.finetune else ""
    amounts = (("shots", lineage.shots), ("train_fraction", lineage.train_fraction))
    few = "".join(f", {name} {amount}" for name, amount in amounts if amount is not None)
    shape = f"{lineage.arch} width {lineage.width} at {lineage.image_size} px"
    return f"{shape}, pre-training {lineage.pretrain}{source}{tune}{few}"


def _training_lines(stage: StageDirectory, status: Status, index: Index) -> list[tuple[str, str]]:
    lines = [
        (name, str(value))
        for name in ("steps", "skipped_steps", "device", "world_size")
        if (value := getattr(status, name)) is not None
    ]
    lines.append(("time", duration(status.wall_seconds)))
    parent_key = {"pretrain": "pretrain_key", "finetune": "finetune_key"}.get(stage.kind, "others")
    runs = [run for run in (*index.runs, *index.smoke) if getattr(run.lineage, parent_key) == stage.key]
    return [*lines, *(("evaluation", f"{run.path.name}  {_metrics_text(run)}") for run in runs)]


def _metrics_text(run: Run) -> str:
    pairs = ((metric, run.metrics.get(metric)) for metric in TITLES)
    return "  ".join(
        f"{TITLES[metric]} {_with_unit(metric, value)}" for metric, value in pairs if value is not None
    )
