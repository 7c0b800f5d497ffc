"""Execute planned stages: skip what is done, resume what was begun, run what is missing.

The only place that knows the order of stages. A stage is computed under its lock, so that parallel
jobs that share it compute it once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.config.data import DataConfig
from robust_transfer.config.methods import CheckpointConfig, TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import files
from robust_transfer.core.errors import DataError, UserError
from robust_transfer.distributed.environment import started_by_launcher
from robust_transfer.pipeline import cost
from robust_transfer.pipeline.inputs import missing_input
from robust_transfer.pipeline.signals import resumable
from robust_transfer.pipeline.stage import (
    STAGE_FORMAT,
    CheckpointMetadata,
    Stage,
    stage_devices,
    unfinished,
)
from robust_transfer.store import directories, locks, stage_config
from robust_transfer.store.directories import DONE, FAILED, INTERRUPTED, StageDirectory
from robust_transfer.store.job import ModelFile, StageJob
from robust_transfer.store.provenance import environment

if TYPE_CHECKING:
    from robust_transfer.distributed.context import Context

Say = Callable[[str], None]
# Messages to processes that wait with the first one for a lock: seconds between two, and messages per line.
MESSAGE_SECONDS, MESSAGES_PER_LINE = 5.0, 12


def check_inputs(jobs: Iterable[tuple[Sequence[Stage], DataConfig]]) -> None:
    """Refuse jobs whose stages lack their data; reads no image."""
    for stages, data in jobs:
        for stage in stages:
            if problem := missing_input(stage, data):
                raise DataError(problem, f"rt-data status {stage.dataset.name}")


def check_machine(stages: Sequence[Stage], runtime: RuntimeConfig) -> None:
    """Refuse stages whose devices are missing or do not divide their batches."""
    from robust_transfer.distributed.devices import check_precision, choose_devices, choose_kind

    kind = choose_kind(runtime.device)
    for stage in stages:
        batch = stage.config.batch_size if isinstance(stage.config, TrainingConfig) else None
        if isinstance(stage.config, TrainingConfig):
            check_precision(stage.config.precision, device_kind=kind, group=stage.kind)
        choose_devices(stage_devices(stage, runtime), batch_size=batch, device_kind=kind)


def execute(
    stages: Sequence[Stage], root: Path | str, *, data: DataConfig, runtime: RuntimeConfig, say: Say
) -> list[StageDirectory]:
    """Bring every stage to the state done, in order, and return their directories.

    Raises
    ------
    UserError : what the user can put right; a stage that ran is marked failed and can be resumed
    """
    directories.open_root(root)
    with resumable(), files.disk_errors(root), _processes(runtime) as context:
        runner = Runner(Path(root), data, runtime, say, context)
        due = runner.due(stages)
        return [
            runner.finish(stage, f"[{number}/{len(stages)}]", due=stage.key in due)
            for number, stage in enumerate(stages, start=1)
        ]


@dataclass(frozen=True)
class Runner:
    """Where stages are computed, from which data, and where messages go.

    root : the store
    context : the processes that a launcher started; None where this one is alone
    """

    root: Path
    data: DataConfig
    runtime: RuntimeConfig
    say: Say
    context: Context | None = None

    def due(self, stages: Sequence[Stage]) -> set[str]:
        """Return the keys of what is to be computed; of several processes the first one's answer counts."""
        keys = {stage.key for stage in unfinished(stages, self.root)} if self._is_main else set()
        return keys if self.context is None else set(self.context.broadcast(keys))

    def finish(self, stage: Stage, count: str, *, due: bool) -> StageDirectory:
        """Bring a stage to the state done: reuse, resume or compute it; `count` says how far the run is.

        due : whether it was to be computed as the run began
        """
        directory = stage.directory(self.root)
        title = f"{count} {stage.kind} {directory.path.name}"
        state = self._state(directory)
        if state != "done" and not due:
            self.say(f"{title}: done, and what reads its weights too; they were not packed")
            return directory
        if state != "done":
            with self._locked(directory, title):
                state = self._state(directory)  # another run may have computed it while this one waited
                if state != "done":
                    self.say(f"{title}: {'resuming' if state == 'resumable' else 'running'}")
                    self._compute(stage, directory)
        if state == "done":
            check_fingerprint(stage, directory, self.data)
        self.say(f"{title}: done")
        return directory

    @contextmanager
    def _locked(self, directory: StageDirectory, title: str) -> Iterator[None]:
        """Hold the stage's lock in the first process; the others wait with it and hear from it."""
        context = self.context

        def waiting(who: str) -> None:
            self.say(f"{title}: waiting for {who}")

        if context is None:
            with locks.locked(directory, on_wait=waiting):
                yield
            return
        if not context.is_main:
            # One message for the whole wait would run into the process group's timeout.
            while context.broadcast(None):
                pass
            yield
            return
        messages = itertools.count()

        def still_waiting(who: str) -> None:
            context.broadcast(True)
            if next(messages) % MESSAGES_PER_LINE == 0:
                waiting(who)

        with locks.locked(directory, on_wait=still_waiting, every_seconds=MESSAGE_SECONDS):
            context.broadcast(False)
            yield

    @property
    def _is_main(self) -> bool:
        return self.context is None or self.context.is_main

    def _state(self, directory: StageDirectory) -> str:
        """Return a stage's state; of several processes the first one's answer counts."""
        state = directory.state()
        return state if self.context is None else str(self.context.broadcast(state))

    def _compute(self, stage: Stage, directory: StageDirectory) -> None:
        """Run a stage's job; the main process keeps status.json, the others only take part."""
        if not self._is_main:
            self.launch(stage, directory)
            return
        began = time.time()
        earlier = directory.begin(
            format=STAGE_FORMAT,
            key=stage.key,
            parent=stage.parent.key if stage.parent else None,
            lineage=stage.lineage.values(),
            marks=list(stage.marks),
            images=stage.images,
        )
        spent = earlier.wall_seconds or 0.0  # of runs that were interrupted
        files.write_text(directory.path / stage_config.NAME, stage.stored().to_yaml())
        files.write_json(directory.path / "env.json", environment())
        try:
            reported = self.launch(stage, directory)
        except BaseException as error:
            wall = spent + time.time() - began
            failed: dict[str, Any] = {}
            if isinstance(error, UserError):
                failed = {"state": FAILED, "error": error.what}
            elif isinstance(error, KeyboardInterrupt | SystemExit):
                failed = {"state": INTERRUPTED}
            # What ended the stage matters more than a full disk that refuses its status.
            with suppress(OSError):
                directory.update(**failed, wall_seconds=wall)
            raise
        wall = spent + time.time() - began
        measured = {**reported, "wall_seconds": wall, "passes": cost.passes(stage)}
        directory.update(state=DONE, finished=time.time(), **measured)

    def launch(self, stage: Stage, directory: StageDirectory) -> dict[str, Any]:
        """Start the stage's job on its devices and return what it reports for status.json."""
        reported: dict[str, Any]
        if isinstance(stage.config, CheckpointConfig):
            from robust_transfer.distributed.devices import choose_kind
            from robust_transfer.models import import_stage
            from robust_transfer.pipeline.first_use import measure_head

            assert isinstance(stage.parent, CheckpointMetadata)
            path, config = stage.parent.path, stage.config
            reported = import_stage(path, directory.model, config, stage.model, key=stage.key)
            kind = choose_kind(self.runtime.device)
            return {**reported, **measure_head(path, config, stage.model, self.data, device=kind)}
        from robust_transfer.distributed.launch import launch

        job = StageJob(
            stage.stored(),
            self._model_file(stage.parent) if stage.parent else None,
            self.data,
            self.runtime,
            directory.path,
            references={name: self._model_file(model) for name, model in stage.references.items()},
        )
        devices, kind = stage_devices(stage, self.runtime), self.runtime.device
        if stage.kind == "eval":
            from robust_transfer.evaluation.job import evaluate

            reported = launch(_at_work, (evaluate, job), devices=devices, device_kind=kind)
        else:
            from robust_transfer.training.job import train

            batch = stage.config.batch_size
            reported = launch(_at_work, (train, job), devices=devices, device_kind=kind, batch_size=batch)
        return reported

    def _model_file(self, model: Stage | CheckpointMetadata) -> ModelFile:
        if isinstance(model, CheckpointMetadata):
            return ModelFile(model.path, model.key, model.reading, model.denoiser)
        return ModelFile(model.directory(self.root).model, model.key)


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


def _at_work(work: Callable[[StageJob, Context], Any], job: StageJob, context: Context) -> Any:
    """Run a stage's job in a process of its own or in this one; only a user's error passes unchanged."""
    with files.disk_errors(job.directory.parents[1]):
        return work(job, context)


def check_fingerprint(stage: Stage, directory: StageDirectory, data: DataConfig) -> None:
    """Refuse to reuse a finished stage where the data on disk is not what it was computed from."""
    computed = directory.status().fingerprint
    if computed is None:
        return
    try:
        actual = stage_fingerprint(stage, data)
    except DataError:
        return  # nothing to compare: a key needs no data on disk
    if actual != computed:
        raise DataError(
            f"{directory.path.name} was computed from other data: dataset '{stage.dataset.name}' had "
            f"fingerprint {computed[:12]}, on disk it has {actual[:12]}",
            f"put the data back as it was, or delete {directory.path} to compute it again",
        )


def stage_fingerprint(stage: Stage, data: DataConfig) -> str:
    """Hash the split list (relative path, label) that the stage reads."""
    from robust_transfer.data.opening import open_split

    split = stage.dataset.evaluate_on if stage.kind == "eval" else "train"
    return open_split(stage.dataset, data, split, generated=stage.generated).fingerprint()
