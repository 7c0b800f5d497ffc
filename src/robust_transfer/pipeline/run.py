"""Execute planned stages: skip what is done, resume what was begun, run what is missing.

The only place that knows the order of stages. A stage is computed under its lock, so that parallel
jobs that share it compute it once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from robust_transfer.config.data import DataConfig
from robust_transfer.config.methods import CheckpointConfig, TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import files
from robust_transfer.core.errors import DataError, Interrupted, UserError
from robust_transfer.core.signals import SIGNALS
from robust_transfer.distributed.environment import started_by_launcher
from robust_transfer.pipeline import cost
from robust_transfer.pipeline.inputs import missing_input
from robust_transfer.pipeline.stage import STAGE_FORMAT, CheckpointMetadata, Stage
from robust_transfer.store import directories, locks, stage_config
from robust_transfer.store.directories import DONE, FAILED, INTERRUPTED, StageDirectory
from robust_transfer.store.provenance import environment, git_commit

if TYPE_CHECKING:
    from robust_transfer.distributed.context import Context

Say = Callable[[str], None]


def check_inputs(stages: Sequence[Stage], root: Path | str, data: DataConfig) -> None:
    """Refuse a run whose missing stages would not find their data; reads no image."""
    for stage in stages:
        if stage.directory(root).state() != "done" and (lack := missing_input(stage, data)):
            raise DataError(lack, f"rt-data status {stage.dataset.name}")


def check_machine(stages: Sequence[Stage], root: Path | str, runtime: RuntimeConfig) -> None:
    """Refuse a run whose stages would not find their devices, or a batch that these do not divide."""
    from robust_transfer.distributed.devices import choose_devices, choose_kind

    kind = choose_kind(runtime.device)
    for stage in stages:
        if stage.directory(root).state() != "done":
            batch = stage.config.batch_size if isinstance(stage.config, TrainingConfig) else None
            choose_devices(runtime.devices, batch_size=batch, device_kind=kind)


def execute(
    stages: Sequence[Stage], root: Path | str, *, data: DataConfig, runtime: RuntimeConfig, say: Say
) -> list[StageDirectory]:
    """Bring every stage to the state done, in order, and return their directories.

    Raises
    ------
    UserError : what the user can put right; a stage that ran is marked failed and can be resumed
    """
    directories.open_root(root)
    with _resumable(), files.disk_errors(root), _processes(runtime) as context:
        return [
            _bring_to_done(stage, f"[{number}/{len(stages)}]", root, data, runtime, say, context)
            for number, stage in enumerate(stages, start=1)
        ]


def _bring_to_done(
    stage: Stage,
    count: str,
    root: Path | str,
    data: DataConfig,
    runtime: RuntimeConfig,
    say: Say,
    context: Context | None,
) -> StageDirectory:
    directory = stage.directory(root)
    prefix = f"{count} {stage.kind} {directory.path.name}"
    main = context is None or context.is_main
    if _is_done(directory, context):
        check_fingerprint(stage, directory, data)
    else:
        waiting = locks.locked(directory, on_wait=lambda who: say(f"{prefix}: waiting for {who}"))
        with waiting if main else nullcontext():
            if _is_done(directory, context):  # while this one waited
                check_fingerprint(stage, directory, data)
            else:
                say(f"{prefix}: {'resuming' if directory.state() == 'resumable' else 'running'}")
                _compute(stage, directory, root, data, runtime, main=main)
    say(f"{prefix}: done")
    return directory


def _is_done(directory: StageDirectory, context: Context | None) -> bool:
    """Return whether a stage is done; of several processes the first one's answer stands."""
    done = directory.state() == "done"
    return done if context is None else bool(context.broadcast(done))


@contextmanager
def _processes(runtime: RuntimeConfig) -> Iterator[Context | None]:
    """Join the processes that torchrun or Slurm started; None where this one is alone."""
    if not started_by_launcher():
        yield None
        return
    from robust_transfer.distributed.context import join
    from robust_transfer.distributed.devices import choose_kind

    with join(choose_kind(runtime.device)) as context:
        yield context


@contextmanager
def _resumable() -> Iterator[None]:
    """Leave with code 75 on a scheduler's signals, which queues the run again: journals keep what is done.

    Training replaces these handlers by one that saves a checkpoint first; a handler that a launcher has set,
    such as submitit's, stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, "what is journalled")

    ours = [
        number
        for number in SIGNALS
        if number != signal.SIGINT and (number == signal.SIGTERM or not callable(signal.getsignal(number)))
    ]
    former = {number: signal.signal(number, leave) for number in ours}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _compute(
    stage: Stage,
    directory: StageDirectory,
    root: Path | str,
    data: DataConfig,
    runtime: RuntimeConfig,
    *,
    main: bool,
) -> None:
    """Run a stage's job; the main process keeps status.json, the others only take part."""
    if not main:
        _launch(stage, directory, root, data, runtime)
        return
    started = time.time()
    spent = directory.status().wall_seconds or 0.0  # of runs that were interrupted
    directory.begin(
        format=STAGE_FORMAT,
        key=stage.key,
        parent=stage.parent.key if stage.parent else None,
        lineage=stage.lineage.values(),
        marks=list(stage.marks),
        images=stage.images,
    )
    files.write_text(directory.path / stage_config.NAME, stage.stored().to_yaml())
    files.write_json(directory.path / "env.json", environment())
    try:
        facts = _launch(stage, directory, root, data, runtime)
    except BaseException as error:
        wall = spent + time.time() - started
        failed: dict[str, Any] = {}
        if isinstance(error, UserError):
            failed = {"state": FAILED, "error": error.what}
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            failed = {"state": INTERRUPTED}
        # What ended the stage is worth more than that a full disk does not take its status.
        with suppress(OSError):
            directory.update(**failed, wall_seconds=wall)
        raise
    wall = spent + time.time() - started
    measured = {**facts, "wall_seconds": wall, "passes": cost.passes(stage)}
    directory.update(state=DONE, finished=time.time(), **measured)


def _launch(
    stage: Stage, directory: StageDirectory, root: Path | str, data: DataConfig, runtime: RuntimeConfig
) -> dict[str, Any]:
    """Start the stage's job on its devices and return the facts it reports."""
    from robust_transfer.distributed.launch import launch

    if stage.kind == "eval":
        from robust_transfer.evaluation.job import EvaluationJob, evaluate

        assert stage.parent is not None
        model = _model_file(stage.parent, root)
        job = EvaluationJob(
            evaluator=stage.identity["evaluator"],
            settings=stage.config,
            dataset=stage.dataset,
            data=data,
            runtime=runtime,
            image_size=stage.identity["image_size"],
            whole_image=stage.identity["whole_image"],
            model=model,
            reading=stage.parent.reading if isinstance(stage.parent, CheckpointMetadata) else None,
            directory=directory.path,
            key=stage.key[:12],
            parent=stage.parent.key[:12],
            generated=stage.generated,
            lineage=stage.lineage,
            marks=stage.marks,
            commit=git_commit(),
        )
        facts: dict[str, Any] = launch(
            _at_work, (evaluate, job), devices=runtime.devices, device_kind=runtime.device
        )
        return facts
    if isinstance(stage.config, CheckpointConfig):
        from robust_transfer.models import import_stage

        assert isinstance(stage.parent, CheckpointMetadata)
        return import_stage(stage.parent.path, directory.model, stage.config, stage.model, key=stage.key)
    from robust_transfer.training.job import TrainingJob, train

    training = TrainingJob(
        method=stage.config,
        model=stage.model,
        dataset=stage.dataset,
        data=data,
        runtime=runtime,
        parent=_model_file(stage.parent, root) if stage.parent else None,
        directory=directory.path,
        key=stage.key,
        generated=stage.generated,
        finetune=stage.kind == "finetune",
        references={name: _model_file(model, root) for name, model in stage.references.items()},
    )
    trained: dict[str, Any] = launch(
        _at_work,
        (train, training),
        devices=runtime.devices,
        device_kind=runtime.device,
        batch_size=stage.config.batch_size,
    )
    return trained


def _at_work(function: Callable[[Any, Any], Any], job: Any, context: Any) -> Any:
    """Run a stage's job in a process of its own or in this one; only a user's error leaves a worker whole."""
    with files.disk_errors(job.directory.parents[1]):
        return function(job, context)


def _model_file(model: Stage | CheckpointMetadata, root: Path | str) -> Path:
    return model.path if isinstance(model, CheckpointMetadata) else model.directory(root).model


def check_fingerprint(stage: Stage, directory: StageDirectory, data: DataConfig) -> None:
    """Refuse to reuse a finished stage where the data on disk is not what it was computed from."""
    computed = directory.status().fingerprint
    if computed is None or missing_input(stage, data):
        return  # nothing to compare: a key needs no data on disk
    found = stage_fingerprint(stage, data)
    if found != computed:
        raise DataError(
            f"{directory.path.name} was computed from other data: dataset '{stage.dataset.name}' had "
            f"fingerprint {computed[:12]}, on disk it has {found[:12]}",
            f"put the data back as it was, or delete {directory.path} to compute it again",
        )


def stage_fingerprint(stage: Stage, data: DataConfig) -> str:
    """Hash the split list (relative path, label) that the stage reads."""
    from robust_transfer.data.opening import open_split

    split = stage.dataset.evaluate_on if stage.kind == "eval" else "train"
    return open_split(stage.dataset, data, split, generated=stage.generated).fingerprint()
