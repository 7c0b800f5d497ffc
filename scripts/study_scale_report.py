"""What the stages of scripts/study_scale.py took, and the hours of Tables 2 to 5 that follow from it."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robust_transfer.cli import compose, launching
from robust_transfer.config.evaluators import CertifyConfig
from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT
from robust_transfer.config.methods import TrainingConfig
from robust_transfer.core import files
from robust_transfer.pipeline import cost
from robust_transfer.pipeline.stage import Stage

TRUE = {"arch": "resnet50", "size": 224, "steps": 200, "n": 100_000, "certify_images": 20}
ATTACK_IMAGES = 256  # two batches: the end of one, when images leave and none enter, is slow
PLATEAU_EPOCHS = 150  # those of finetune=at where it does not end on a plateau
NOT_MEASURED = (
    "what the models are good for: after so few steps their accuracies say nothing",
    f"where AT fine-tuning ends: the tables' plateau counts as {PLATEAU_EPOCHS} epochs, and measuring the "
    "images held out for it as no time",
    "what evaluations are spared: hours are the most they take, every image right and robust to the end",
    "several GPUs, several seeds, memory of evaluations, starts of training processes",
    "reading the images of the tables: the time of these counts for them",
)


def report_of(options: argparse.Namespace, stages: Sequence[Stage]) -> dict[str, Any]:
    rows = [row_of(options, stage) for stage in stages]
    paths = [stage.directory(options.store).path / "env.json" for stage in stages]
    environments = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    resumed = [found for stage in stages if (found := resumption(options, stage))]
    smaller = shortfalls(options, rows, resumed)
    overrides = {
        "images": "imagefolder: those at hand",
        "training": f"max_steps={options.steps} and epochs=null: enough to time it",
        "autopgd": "num_restarts=5, as in Table 2's preset; subset, doubled until enough images are right",
        "certify": "subset, the same",
        **{f"batch_size of {name}": str(size) for name, size in options.batch_size.items()},
        **({"lr of simclr": "0.3 batch_size / 256"} if options.batch_size.keys() & {"all", "simclr"} else {}),
    }
    return {
        "study_scale": not smaller,
        "smaller": smaller,
        "device": joined(row["device"] for row in rows),
        "torch": joined(e["versions"]["torch"] for e in environments),
        "commit": joined(e["commit"] for e in environments),
        "network": " ".join(network(options)),
        "workers": options.workers,
        "overrides": overrides,
        "stages": rows,
        "resumed": resumed,
        "hours": hours(options, {(row["kind"], row["name"]): row["seconds_per_pass"] for row in rows}),
        "not_measured": list(NOT_MEASURED),
    }


def joined(values: Iterable[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values}))


def row_of(options: argparse.Namespace, stage: Stage) -> dict[str, Any]:
    """Return what a stage took; `hours` multiplies its seconds_per_pass."""
    directory = stage.directory(options.store)
    status, per_image = directory.status(), cost.passes_per_image(stage.config)
    name = stage.identity.get("evaluator") or stage.config.name
    row = {"kind": stage.kind, "name": name, "key": directory.key, "device": status.device}
    if isinstance(stage.config, TrainingConfig):
        lines, batch = metrics(directory.path), stage.config.batch_size
        # The first line holds the warm-up; a median, because a resumption holds another.
        seconds = statistics.median(
            (b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in itertools.pairwise(lines)
        )
        return row | {
            "steps": status.steps,
            "batch_size": batch,
            "activation_checkpointing": bool(recall(options, "too large", stage)),
            "steps_per_second": 1 / seconds,
            "images_per_second": batch / seconds,
            "peak_memory_bytes": status.peak_memory_bytes,
            "seconds_per_pass": seconds / (batch * per_image),
        }
    summary, work = directory.summary(), work_of(options, stage)
    seconds, worked = summary.wall_seconds, sum(map(bool, work))
    certify = isinstance(stage.config, CertifyConfig)
    first, unit = (stage.config.n0, FORWARD) if certify else (FORWARD, INPUT_GRADIENT)
    seconds_per_pass = seconds / (len(work) * first + sum(work) * unit)
    return row | {
        "num_images": len(work),
        "num_right": worked,
        "wall_seconds": seconds,
        "seconds_per_right_image": seconds / worked if worked else None,
        "seconds_per_image_at_most": seconds_per_pass * per_image,
        "seconds_per_pass": seconds_per_pass,
    }


def work_of(options: argparse.Namespace, stage: Stage) -> list[int]:
    """Return the gradient steps or noise samples that each image took; 0: it was wrong from the start."""
    column = "samples_drawn" if isinstance(stage.config, CertifyConfig) else "gradient_steps"
    with open(stage.directory(options.store).records, encoding="utf-8", newline="") as stream:
        return [int(row[column]) for row in csv.DictReader(stream)]


def resumption(options: argparse.Namespace, stage: Stage) -> dict[str, Any] | None:
    """Return how a killed stage went on: what it had logged up to its checkpoint was not computed again."""
    killed, directory = recall(options, "killed", stage), stage.directory(options.store)
    if killed is None:
        return None
    kept = [line for line in metrics(directory.path) if line["step"] <= killed["checkpoint"]]
    went_on = killed["checkpoint"] > 0 and kept == killed["lines"]
    found = {"key": directory.key, "killed_after_step": killed["after_step"], "state": directory.state()}
    return {**found, "from_step": killed["checkpoint"] if went_on else 0}


def shortfalls(options: argparse.Namespace, rows: list[dict], resumed: list[dict]) -> list[str]:
    """Say in what this is less than the study's scale."""
    given = {name: getattr(options, name) for name in ("arch", "size", "steps", "n")}
    found = [
        f"{name}={value} (expected {TRUE[name]})"
        for name, value in given.items()
        if (value != TRUE[name] if name in ("arch", "size") else value < TRUE[name])
    ]
    # SimCLR's own batch of 4,096 fits on no single GPU.
    found += [f"batch_size of {name}" for name in options.batch_size if name != "simclr"]
    wanted = {"certify": TRUE["certify_images"], "autopgd": 1}
    for row in rows:
        if row["kind"] == "eval" and row["num_right"] < wanted[row["name"]]:
            found.append(f"{row['name']}: {row['num_right']} right images (expected {wanted[row['name']]})")
    if not any(row["from_step"] for row in resumed):
        found.append("no stage was killed and went on from a checkpoint")
    return found


def hours(options: argparse.Namespace, rates: dict[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    """Return the hours of each table on one such device, and of all: stages that they share count once."""
    found: dict[str, dict[str, float]] = {}
    every: dict[str, Stage] = {}
    for table in ("table2", "table3", "table4", "table5"):
        stages = {stage.key: stage for stage in planned(f"experiment={table}", *network(options))}
        every |= stages
        found[table] = sum_of(stages.values(), rates)
    return {**found, "all": sum_of(every.values(), rates)}


def sum_of(stages: Iterable[Stage], rates: dict[tuple[str, str], float]) -> dict[str, float]:
    total = {"pretrain": 0.0, "finetune": 0.0, "eval": 0.0}
    for stage in stages:
        name = stage.identity.get("evaluator") or stage.config.name
        if isinstance(stage.config, TrainingConfig) and stage.config.epochs is None:
            stage = replace(stage, config=replace(stage.config, epochs=PLATEAU_EPOCHS))
        priced = cost.cost(stage, cost.Rate(rates[stage.kind, name]))
        assert priced.hours is not None  # the catalogue knows how many images each table's sets have
        total[stage.kind] += priced.hours
    return {**total, "total": sum(total.values())}


def markdown(report: dict[str, Any]) -> str:
    """Write the report for a reader."""
    scale = "the study's scale" if report["study_scale"] else "NOT the study's scale"
    head = f"{report['device']}, torch {report['torch']}, commit {report['commit']}"
    training = [row for row in report["stages"] if row["kind"] != "eval"]
    evaluations = [row for row in report["stages"] if row["kind"] == "eval"]
    tables = [{"hours of": name, **row} for name, row in report["hours"].items()]
    lists = {"Smaller": report["smaller"], "Not measured": report["not_measured"]}
    lists["Overridden"] = [f"{name}: {why}" for name, why in report["overrides"].items()]
    parts = [f"# {head}", f"{report['network']}: {scale}.", *map(table, (training, evaluations, tables))]
    for row in report["resumed"]:
        way = f"killed after step {row['killed_after_step']}, went on from step {row['from_step']}"
        parts.append(f"{row['key']}: {way}: {row['state']}.")
    parts += [f"{name}:\n\n" + "\n".join(f"- {x}" for x in found) for name, found in lists.items() if found]
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[dict[str, Any]]) -> str:
    names = [name for name in rows[0] if name != "device"]
    lines = [names, ["---"] * len(names)]
    lines += [[f"{row[n]:.4g}" if isinstance(row[n], float) else str(row[n]) for n in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---------------------------------------------------------------- what both files use


def network(options: argparse.Namespace) -> tuple[str, ...]:
    width = (f"model.width={options.width}",) if options.width else ()
    return f"model={options.arch}", f"model.image_size={options.size}", *width


def planned(*words: str) -> list[Stage]:
    with compose.hydra_session("rt-train", None):
        jobs = launching.planned(compose.read("train", list(words), multirun=False))
    return [stage for job in jobs for stage in job.stages]


def metrics(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a stage's metrics.jsonl."""
    file = path / "metrics.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def recall(options: argparse.Namespace, what: str, stage: Stage) -> Any:
    """Return what an earlier start noted of a stage."""
    return (files.read_json(options.store / "study_scale.json") or {}).get(f"{what} {stage.key}")
