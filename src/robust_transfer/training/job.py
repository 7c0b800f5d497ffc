"""A training stage: open the data, build the model or take the parent's, train, write model.safetensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.schedules import PlateauSchedule
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.logging import logger
from robust_transfer.data.cache import cached
from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.loaders import Batch, MakeView, MakeViews, steps_per_epoch, training_batches
from robust_transfer.data.opening import open_split
from robust_transfer.data.transforms import eval_transform, train_transform
from robust_transfer.distributed.context import Context
from robust_transfer.distributed.devices import choose_workers, device_name
from robust_transfer.models.checkpoint import load_model, save_model
from robust_transfer.models.normalized import Classifier, build_model, replace_head
from robust_transfer.objectives import Objective, build
from robust_transfer.store.job import StageJob
from robust_transfer.training.checkpoints import PREVIOUS
from robust_transfer.training.loop import OpenBatches, fit
from robust_transfer.training.memory import no_memory, no_shared_memory
from robust_transfer.training.prefetch import STREAMING, on_device
from robust_transfer.training.start import announce
from robust_transfer.training.validation import validator


def train(job: StageJob, context: Context) -> dict[str, Any]:
    """Run a training stage to its end and return its totals; process 0 writes the files.

    Returns
    -------
    dict with steps, epochs, wall_seconds, images_per_second, peak_memory_bytes, device, fingerprint,
    num_train_images, world_size

    Raises
    ------
    UserError : data, checkpoint or configuration do not fit; Interrupted : a signal stopped it; resumable
    """
    stage, method = job.stage, job.stage.config
    directory = Path(job.directory)
    directory.mkdir(parents=True, exist_ok=True)
    dataset = open_split(stage.dataset, job.data, "train", generated=stage.generated)
    dataset = _decoded_once(job, dataset, context)
    model = _starting_model(job, dataset)
    objective = build(method)
    announce(job, len(dataset), context)
    try:
        trained, totals = fit(
            model,
            objective,
            _batches(job, objective, dataset, context),
            config=method,
            runtime=job.runtime,
            context=context,
            directory=directory,
            batches_per_epoch=steps_per_epoch(len(dataset), method.batch_size),
            references={name: _frozen(file.path, context) for name, file in job.references.items()},
            validate=_validation(job, objective, context),
        )
    except (RuntimeError, MemoryError) as error:
        if no_shared_memory(error):
            raise ConfigError(
                "no shared memory left for the images that are loaded ahead (/dev/shm)",
                "runtime.prefetch_factor=1, fewer runtime.num_workers, or a container with more (--shm-size)",
            ) from error
        if not no_memory(error):
            raise
        raise out_of_memory(job, context) from error
    if context.is_main:
        assert isinstance(trained, Classifier), "an objective exports a classifier"
        trained.train_sigma = method.train_sigma
        save_model(directory / "model.safetensors", trained, key=stage.key)
        # last.pt stays: it makes a repetition free if the machine dies before the stage is marked done.
        (directory / PREVIOUS).unlink(missing_ok=True)
    context.barrier()
    return {
        **totals,
        "device": device_name(context.device),
        "fingerprint": dataset.fingerprint(),
        "num_train_images": len(dataset),
        "world_size": context.world_size,
    }


def _decoded_once(job: StageJob, dataset: ImageDataset, context: Context) -> ImageDataset:
    """Read images from a cache; the first process makes it where they will be read more than once."""
    method: TrainingConfig = job.stage.config
    steps = steps_per_epoch(len(dataset), method.batch_size)
    again = (method.epochs is None or method.epochs > 1) and (
        method.max_steps is None or method.max_steps > steps
    )
    if context.is_main:
        cached(dataset, job.data.root, job.data.cache, build=again)
    context.barrier()
    return cached(dataset, job.data.root, job.data.cache, build=False)


def _starting_model(job: StageJob, dataset: ImageDataset) -> Classifier:
    stage, method = job.stage, job.stage.config
    names: Sequence[str] = dataset.class_names if method.spec.needs_labels else []
    if job.parent is None:
        return build_model(
            stage.model.arch,
            num_classes=len(names),
            class_names=names,
            image_size=stage.model.image_size,
            width=stage.model.width,
            normalize=stage.model.normalize,
            seed=method.seed,
        )
    model = load_model(job.parent.path)
    if (model.arch, model.width) != (stage.model.arch, stage.model.width):
        raise ConfigError(
            f"{job.parent.path} holds {model.arch} of width {model.width} "
            f"(expected {stage.model.arch} of width {stage.model.width})"
        )
    model.image_size = stage.model.image_size
    if method.keep_head:
        _check_kept_head(model, names, job.parent.path)
    elif stage.kind == "finetune":
        replace_head(model, num_classes=len(names), class_names=names, seed=method.seed)
    return model


def _check_kept_head(model: Classifier, names: Sequence[str], parent: Path) -> None:
    if list(model.class_names) != list(names):
        raise ConfigError(
            f"keep_head=true, and the head of {parent} is for {model.num_classes} other classes "
            f"(expected the {len(names)} of the data set)",
            "keep_head=false, or a parent that is fine-tuned on the same data set",
        )


def _frozen(path: Path, context: Context) -> nn.Module:
    return load_model(path).requires_grad_(False).to(context.device)


def _make_views(job: StageJob, objective: Objective) -> MakeViews:
    own = train_transform(job.stage.model.image_size, job.stage.dataset.augment)
    return partial(_views_of_epoch, objective, job.stage.model.image_size, own)


def _views_of_epoch(objective: Objective, image_size: int, own: MakeView, epoch: int) -> Sequence[MakeView]:
    return [make or own for make in objective.views(image_size, epoch)]


def _batches(job: StageJob, objective: Objective, dataset: ImageDataset, context: Context) -> OpenBatches:
    def open_batches(first: int, end: int) -> Iterator[Batch]:
        batches = training_batches(
            dataset,
            _make_views(job, objective),
            batch_size=job.stage.config.batch_size,
            seed=job.stage.config.seed,
            start_step=first,
            total_steps=end,
            rank=context.rank,
            world_size=context.world_size,
            num_workers=choose_workers(job.runtime.num_workers, device=context.device),
            prefetch_factor=job.runtime.prefetch_factor,
            pin_memory=context.device.type in STREAMING,
        )
        return on_device(_warn_of_unreadable(batches, dataset), context.device)

    return open_batches


def _warn_of_unreadable(batches: Iterator[Batch], dataset: ImageDataset) -> Iterator[Batch]:
    """Warn once of every image that could not be read and was replaced by another of its class."""
    reported: set[int] = set()
    for batch in batches:
        for position in set(batch.unreadable) - reported:
            reported.add(position)
            name = dataset.paths[position]
            logger.warning("%s cannot be read; another image of its class replaces it", name)
        yield batch


def _validation(job: StageJob, objective: Objective, context: Context) -> Callable[[nn.Module], float] | None:
    """Return the score for a plateau schedule; the others need none."""
    stage, method = job.stage, job.stage.config
    schedule = method.schedule
    if not isinstance(schedule, PlateauSchedule):
        return None
    held_out = schedule.select_on == "validation"
    if held_out and not stage.dataset.validation_fraction and stage.generated is None:
        raise ConfigError(
            "schedule=plateau needs held-out images (dataset.validation_fraction is 0)",
            "dataset.validation_fraction=0.1",
        )
    dataset = open_split(stage.dataset, job.data, schedule.select_on, generated=stage.generated)
    transform = eval_transform(stage.model.image_size, whole=stage.dataset.augment == "none")
    return validator(
        dataset,
        transform,
        objective,
        config=method,
        runtime=job.runtime,
        context=context,
    )


def out_of_memory(job: StageJob, context: Context) -> ConfigError:
    """Say which ways out of too little memory leave the result as it is, and which do not."""
    method: TrainingConfig = job.stage.config
    local = method.batch_size // context.world_size
    parts = ", micro_batch=N (BatchNorm over N images)"
    return ConfigError(
        f"no memory left on {device_name(context.device)} for {local} images per device",
        "the same result: runtime.devices=N (more), runtime.activation_checkpointing=true",
        "another key: precision=bf16" + (parts if method.spec.accumulates or method.spec.caches else ""),
    )
