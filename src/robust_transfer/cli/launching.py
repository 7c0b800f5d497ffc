"""Run the jobs of a composition: here one after the other, or through one of Hydra's launchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from robust_transfer.cli.compose import Composition, plain_values
from robust_transfer.cli.gpu_claim import claim, visible_gpus
from robust_transfer.cli.scheduled import announced_jobs, launcher_error
from robust_transfer.config.run import TrainConfig, train_config
from robust_transfer.core.errors import ConfigError, UserError
from robust_transfer.data.once import reading_once
from robust_transfer.distributed.environment import started_by_launcher
from robust_transfer.pipeline.checks import check_devices
from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.pipeline.run import check_inputs, check_machine, execute
from robust_transfer.pipeline.stage import Stage, unfinished
from robust_transfer.store import directories
from robust_transfer.store.directories import StageDirectory

Say = Callable[[str], None]
Outcome = list[StageDirectory] | UserError


@dataclass(frozen=True)
class PlannedJob:
    """One job of a sweep with its stages, all and those that are not finished."""

    config: TrainConfig
    stages: list[Stage]
    due: list[Stage]
    overrides: tuple[str, ...] = field(default=())


def planned(composition: Composition) -> list[PlannedJob]:
    """Plan every job before anything runs; an error anywhere refuses the whole sweep."""
    jobs = []
    for job in composition.jobs:
        config = train_config(job.values)
        stages = training_stages(config)
        due = unfinished(stages, config.store)
        check_devices(due, config.runtime)
        jobs.append(PlannedJob(config, stages, due, job.overrides))
    return jobs


def check(composition: Composition, jobs: Sequence[PlannedJob]) -> None:
    """Refuse a sweep whose data or devices are missing, or whose store cannot be written."""
    check_inputs((job.due, job.config.data) for job in jobs)
    for job in jobs:
        if composition.launcher == "basic":  # else the devices are elsewhere
            check_machine(job.due, job.config.runtime)
    for root in {job.config.store for job in jobs}:
        directories.open_root(root)


def run_all(composition: Composition, jobs: Sequence[PlannedJob], *, say: Say) -> list[Outcome]:
    """Run all jobs; a failed one stops the sweep or not, as `on_failure` says."""
    if composition.is_sweep and started_by_launcher():
        raise ConfigError(
            "a sweep was started under torchrun or srun: every process would run all of it",
            "start the sweep alone: rt-train -m ... (each job starts its own processes)",
        )
    if composition.is_sweep and composition.launcher != "basic":
        return _launch(composition, jobs, say)
    outcomes: list[Outcome] = []
    for number, job in enumerate(jobs, start=1):
        if composition.is_sweep:
            say(f"job {number}/{len(jobs)}")
        try:
            outcomes.append(_run(job.config, job.stages, say))
        except UserError as error:
            if not composition.is_sweep or job.config.on_failure == "stop":
                raise
            outcomes.append(error)
    return outcomes


def _run(config: TrainConfig, stages: Sequence[Stage], say: Say) -> list[StageDirectory]:
    return execute(stages, config.store, data=config.data, runtime=config.runtime, say=say)


# ---------------------------------------------------------------- Hydra's launchers (Slurm, joblib)


def _launch(composition: Composition, jobs: Sequence[PlannedJob], say: Say) -> list[Outcome]:
    """Run the shared pre-trainings first, each once, then every job."""
    shared = [[*job.overrides, "++until=pretrain"] for job in shared_pretrainings(jobs)]
    for outcome in _launch_batch(composition, shared, say) if shared else []:
        if isinstance(outcome, UserError):
            raise outcome
    outcomes = _launch_batch(composition, [list(job.overrides) for job in jobs], say)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, UserError) and job.config.on_failure == "stop":
            raise outcome
    return outcomes


def shared_pretrainings(jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """Return one job for each pre-training that several jobs would compute."""
    by_key: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        for stage in job.due:
            if stage.kind == "pretrain":
                by_key.setdefault(stage.key, []).append(job)
    shared = [sharing[0] for sharing in by_key.values() if len(sharing) > 1]
    return list({id(job): job for job in shared}.values())


def _launch_batch(composition: Composition, batch: list[list[str]], say: Say) -> list[Outcome]:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None and composition.hydra_config is not None
    config = composition.hydra_config
    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config)),
        task_function=launched_job,
        config=config,
    )
    with announced_jobs(config.hydra.launcher.get("submitit_folder"), say):
        try:
            results = launcher.launch(batch, initial_job_idx=0)
        except RuntimeError as error:  # errors of the jobs themselves come with their results
            raise launcher_error(error, composition.launcher) from error
    outcomes: list[Outcome] = []
    for result in results:
        try:
            outcomes.append([StageDirectory(Path(path)) for path in result.return_value])
        except UserError as error:
            outcomes.append(error)
    return outcomes


def launched_job(config: DictConfig) -> list[str]:
    """Run one job where a launcher put it; returns the directories of its stages."""
    job = train_config(plain_values(config))
    if HydraConfig.get().runtime.choices.get("hydra/launcher") == "gpus" and job.runtime.device != "cpu":
        claim(Path(job.store) / ".gpus", visible_gpus())
    with reading_once():
        directories = _run(job, training_stages(job), print)
    return [str(directory.path.resolve()) for directory in directories]
