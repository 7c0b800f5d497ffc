"""One evaluation stage: every process measures its share, the first one writes records and summary."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from robust_transfer.config.schema import settings
from robust_transfer.core import files
from robust_transfer.core.errors import CheckpointError
from robust_transfer.core.logging import logger
from robust_transfer.core.numerics import deterministic
from robust_transfer.core.progress import ProgressBar
from robust_transfer.data.loaders import subset_indices
from robust_transfer.data.opening import open_split
from robust_transfer.distributed.context import Context
from robust_transfer.distributed.devices import choose_workers, device_name
from robust_transfer.evaluation import summary
from robust_transfer.evaluation.images import ImageBatch, read_parts
from robust_transfer.evaluation.measured_model import file_record, open_model
from robust_transfer.evaluation.protocol import EvalContext, Evaluator
from robust_transfer.evaluation.warnings import Warnings
from robust_transfer.models.normalized import Classifier
from robust_transfer.store import directories
from robust_transfer.store.job import ModelFile, StageJob
from robust_transfer.store.journal import Journal, journals, read_journal
from robust_transfer.store.provenance import commit_of
from robust_transfer.store.records import Summary
from robust_transfer.training.boards import NUM_EXAMPLES, open_boards
from robust_transfer.training.loggers import check_loggers

PART = 2560  # images decoded and held at once; attacks and certificates refill their batches from them


def evaluate(job: StageJob, context: Context) -> dict[str, Any]:
    """Measure what is not journalled yet, write records.csv and summary.json; return status fields."""
    assert job.parent is not None, "an evaluation measures a model"
    stage, config = job.stage, job.stage.config
    started = time.time()
    dataset = open_split(stage.dataset, job.data, stage.dataset.evaluate_on, generated=stage.generated)
    model = _load(job.parent, context)
    model = model.to(context.device).eval()
    _check_head(model, len(dataset.class_names), stage.dataset.name)
    evaluator: Evaluator = config.spec.build(config)
    rule = config.spec.subset_rule(settings(config))
    subset = subset_indices(len(dataset), config.subset, rule=rule)
    labels = dataset.labels
    rows = _all_rows(job.directory)
    finished = evaluator.finished(rows, labels)
    pending = [index for index in subset if index not in finished]
    context.barrier()  # every process has read the journals before one writes to its own
    bar = ProgressBar(config.spec.name, total=len(pending), shown=context.is_main)
    with deterministic(), closing(bar) as progress:
        warnings = Warnings(job.directory, context.rank)
        eval_context = EvalContext(
            model,
            context.device,
            job.runtime.compile,
            progress,
            warnings,
            sample=functools.cache(functools.partial(_sample, job, dataset, subset)),
            num_images=len(subset),
            references={
                name: _load(file, context).to(context.device).eval() for name, file in job.references.items()
            },
            is_main=context.rank == 0,
            processes=context,
        )
        share = pending if evaluator.together else pending[context.rank :: context.world_size]
        _measure(job, evaluator, eval_context, dataset, share, rows, context.rank)
    context.barrier()
    device = device_name(context.device)
    reported: dict[str, Any] = {"fingerprint": dataset.fingerprint(), "device": device}
    reported["model_file"] = file_record(job.parent)
    if context.is_main:
        metrics, records = _finish(job, evaluator, labels, device, time.time() - started)
        if job.runtime.loggers:
            _show_on_boards(job, metrics, records, _sample(job, dataset, subset, NUM_EXAMPLES))
        result = {name: files.sha256(job.directory / name) for name in directories.RESULT}
        reported["files"] = result
    context.barrier()
    return reported


def _measure(
    job: StageJob,
    evaluator: Evaluator,
    eval_context: EvalContext,
    dataset: Any,
    indices: Sequence[int],
    rows: list[dict[str, str]],
    rank: int,
) -> None:
    """Measure images and journal them: this process's own, or all of them together with the others."""
    if not indices:
        return
    header = {
        "key": job.stage.key[:12],
        "device": device_name(eval_context.device),
        "arithmetic": job.stage.config.arithmetic,
        **evaluator.header(eval_context),
    }
    path = job.directory / f"journal.{rank}.csv"
    for other in journals(job.directory):
        if other != path:
            Journal.check_header(other, header, evaluator.journal_columns)
    share = set(indices)
    journalled = [row for row in rows if int(row["index"]) in share]
    with Journal(path, header=header, columns=evaluator.journal_columns) as journal:
        workers = choose_workers(job.runtime.num_workers, device=eval_context.device)
        for images in _parts(job, dataset, indices, PART, workers):
            eval_context.warnings.note(unreadable=images.unreadable)
            if len(images):
                evaluator.measure(eval_context, images, journalled, journal)


def _sample(job: StageJob, dataset: Any, subset: Sequence[int], count: int) -> ImageBatch:
    """Read at most `count` of the images that the evaluation measures, evenly spread."""
    count = min(len(subset), count)
    chosen = [subset[i * len(subset) // count] for i in range(count)]
    (images,) = _parts(job, dataset, chosen, count, 0)
    return images


def _parts(
    job: StageJob, dataset: Any, indices: Sequence[int], size: int, num_workers: int
) -> Iterator[ImageBatch]:
    return read_parts(
        dataset,
        indices,
        image_size=job.stage.identity["image_size"],
        whole_image=job.stage.identity["whole_image"],
        part_size=size,
        num_workers=num_workers,
    )


def _finish(
    job: StageJob, evaluator: Evaluator, labels: Sequence[int], device: str, wall_seconds: float
) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
    """Fold the journals of all shards into records and summary; return metrics and records."""
    stage, config = job.stage, job.stage.config
    rows = _all_rows(job.directory)
    records = evaluator.records(rows, labels)
    metrics, intervals = summary.metrics_of(records, config.spec, settings(config))
    flags = summary.flags_of(job.directory, evaluator.flags(rows), records, metrics, labels)
    summary.write_records(job.directory / "records.csv", records)
    status = directories.StageDirectory(job.directory).status()
    header, _ = read_journal(journals(job.directory)[0])
    files.write_json(
        job.directory / "summary.json",
        Summary(
            evaluator=config.spec.name,
            dataset=stage.dataset.shown_name,
            split=stage.dataset.evaluate_on,
            num_images=len(records),
            subset=config.subset,
            settings=settings(config),
            metrics=metrics,
            intervals=intervals,
            counts=summary.counts_of(records),
            flags=tuple(flags),
            marks=stage.marks,
            lineage=stage.lineage,
            images=status.images,
            wall_seconds=(status.wall_seconds or 0.0) + wall_seconds,
            device=device,
            noise_backend=header.get("noise_backend"),
            weights=header.get("weights"),
            kernels=header.get("kernels"),
            key=stage.key[:12],
            parent=job.parent.key[:12] if job.parent else None,
            commit=commit_of(job.directory),
        ).values(),
    )
    return metrics, list(records)


def _show_on_boards(
    job: StageJob, metrics: dict[str, float | None], records: list[dict[str, Any]], examples: ImageBatch
) -> None:
    """Show an evaluation on the boards of `runtime.loggers`: metrics, a table of records, a few images."""
    check_loggers(job.runtime.loggers)
    for board in open_boards(job.directory, job.runtime):
        if len(examples):
            board.images("eval/images", examples.pixels, 0)
        board.result(metrics, records)
        board.close()


def _load(file: ModelFile, context: Context) -> Classifier:
    """Load a model, and log what was done to a foreign file."""
    model, lines = open_model(file)
    for line in lines if context.is_main else ():
        logger.info(line)
    return model


def _check_head(model: Classifier, num_classes: int, dataset: str) -> None:
    if model.num_classes != num_classes:
        raise CheckpointError(
            f"the checkpoint's head has {model.num_classes} classes "
            f"(expected {num_classes}, as dataset '{dataset}')"
        )


def _all_rows(directory: Path) -> list[dict[str, str]]:
    return [row for path in journals(directory) for row in read_journal(path)[1]]
