"""Batches of a data set: the order is keyed by (seed, epoch), the augmentation by (seed, epoch, image, view).

A batch is a function of its step alone: a run started in the middle, with another number of workers or of
processes, reads the same images, cropped and flipped the same way.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.transforms import Transform
from robust_transfer.data.views import CroppedView

# A training transform: what it leaves to the device is drawn where the image is read.
MakeView = Callable[[Image.Image], torch.Tensor | CroppedView]
MakeViews = Callable[[int], Sequence[MakeView]]  # epoch -> the makers of its views
NO_IMAGES = torch.empty(0, 3, 0, 0, dtype=torch.uint8)


class Batch(NamedTuple):
    """One process's images of one step.

    images : one uint8 tensor (B, C, H, W) per view
    labels : (B,) int64
    indices : (B,) int64, position in the data set
    epoch : epoch of the step; 0 in evaluation
    unreadable : positions that could not be read (on_error="skip"). In evaluation they are left out, so a
        batch may be shorter, even empty; in training the next readable image of the class replaces it
    drawn : for views that are finished on the device, what is left to do: (B, 12) per view, see View.row
    """

    images: tuple[torch.Tensor, ...]
    labels: torch.Tensor
    indices: torch.Tensor
    epoch: int
    unreadable: tuple[int, ...] = ()
    drawn: tuple[torch.Tensor, ...] = ()


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of whole batches; one batch of everything where the set is smaller than a batch."""
    return max(1, num_images // batch_size)


def subset_indices(num_images: int, subset: int | None, *, rule: str = "even") -> list[int]:
    """Return positions of a part of 0..num_images-1; all of them where `subset` is None, or not fewer.

    Parameters
    ----------
    rule : "even": `subset` evenly spaced positions, both ends included. "skip", as in the code of the study:
        every floor(num_images / subset)-th position from 0 on, int(num_images / that) of them, which may be
        more than `subset` (626 of DTD's 1,880 for 500)
    """
    if subset is None or subset >= num_images:
        return list(range(num_images))
    if rule == "skip":
        step = num_images // subset
        return [step * position for position in range(num_images // step)]
    positions: list[int] = np.rint(np.linspace(0, num_images - 1, subset)).astype(int).tolist()
    return positions


@dataclass(frozen=True)
class _Request:
    """Which image is read, under which key."""

    epoch: int
    position: int


@dataclass(frozen=True)
class _Sample:
    """One transformed image; no views where it was left out, `error` where the run must stop."""

    request: _Request
    label: int = -1
    views: tuple[torch.Tensor | CroppedView, ...] = ()
    unreadable: tuple[int, ...] = ()
    error: DataError | None = None


class _Reader:
    """The map-style side that runs in the workers: request -> sample. Never raises for a bad image.

    An exception would reach the parent as a new one with the worker's traceback for a message.
    """

    def __init__(self, dataset: ImageDataset, make_views: MakeViews, seed: int, *, substitute: bool) -> None:
        self.dataset, self.make_views, self.seed, self.substitute = dataset, make_views, seed, substitute
        self._epoch = -1
        self._makers: tuple[MakeView, ...] = ()  # of this epoch

    def __getitems__(self, requests: Sequence[_Request]) -> list[_Sample]:
        with rng.global_state(
            self.seed, "augment"
        ):  # restored once per batch: it takes a tenth of the time of a small image
            return [self._sample(request) for request in requests]

    def _sample(self, request: _Request) -> _Sample:
        unreadable: list[int] = []
        for position in self._candidates(request.position):
            try:
                image, label = self.dataset[position]
            except DataError as error:
                if self.dataset.on_error == "stop":
                    return _Sample(request, error=error)
                unreadable.append(position)
                continue
            read = _Request(request.epoch, position)
            return _Sample(read, label, self._views(image, read), tuple(unreadable))
        if self.substitute:
            what = f"no image of class '{self._class_of(request.position)}' can be read"
            return _Sample(request, error=DataError(what, "rt-data check names the files"))
        return _Sample(request, unreadable=tuple(unreadable))

    def _candidates(self, position: int) -> Iterator[int]:
        """Yield the position itself; in training also the others of its class, the following ones first."""
        yield position
        if self.substitute:
            labels, size = self.dataset.labels, len(self.dataset)
            others = ((position + offset) % size for offset in range(1, size))
            yield from (other for other in others if labels[other] == labels[position])

    def _class_of(self, position: int) -> str:
        return self.dataset.class_names[self.dataset.labels[position]]

    def _views(self, image: Image.Image, read: _Request) -> tuple[torch.Tensor | CroppedView, ...]:
        if read.epoch != self._epoch:
            self._epoch, self._makers = read.epoch, tuple(self.make_views(read.epoch))
        views = []
        for view, make in enumerate(self._makers):
            rng.seed_global(self.seed, "augment", read.epoch, read.position, view)
            views.append(make(image))
        return tuple(views)


def _collate(samples: list[_Sample]) -> Batch | DataError:
    for sample in samples:
        if sample.error is not None:
            return sample.error
    read = [sample for sample in samples if sample.views]
    images, drawn = stack_views([sample.views for sample in read])
    labels = torch.tensor([sample.label for sample in read], dtype=torch.int64)
    indices = torch.tensor([sample.request.position for sample in read], dtype=torch.int64)
    unreadable = tuple(position for sample in samples for position in sample.unreadable)
    return Batch(images, labels, indices, samples[0].request.epoch, unreadable, drawn)


def stack_views(
    images: Sequence[Sequence[torch.Tensor | CroppedView]],
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Return `Batch.images` and `Batch.drawn` of the views of some images."""
    # default_collate stacks into shared memory where a worker runs it, which saves a copy.
    views = [default_collate(list(view)) for view in zip(*images, strict=True)]
    stacked = tuple(view.crop if isinstance(view, CroppedView) else view for view in views) or (NO_IMAGES,)
    return stacked, tuple(view.drawn for view in views if isinstance(view, CroppedView))


class _TrainingSchedule:
    """The requests of one process, step by step."""

    def __init__(
        self, num_images: int, batch_size: int, seed: int, steps: range, rank: int, world_size: int
    ) -> None:
        self.num_images, self.seed, self.steps = num_images, seed, steps
        self.batch_size = min(batch_size, num_images)
        # Strided: a micro-batch's BatchNorm group then holds the same images on any number of devices.
        self.local = slice(rank, None, world_size)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[_Request]]:
        per_epoch = steps_per_epoch(self.num_images, self.batch_size)
        current_epoch, order = -1, []
        for step in self.steps:
            epoch, batch = divmod(step, per_epoch)
            if epoch != current_epoch:
                keyed = rng.generator(self.seed, "order", epoch)
                current_epoch, order = epoch, torch.randperm(self.num_images, generator=keyed).tolist()
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [_Request(epoch, position) for position in whole[self.local]]


def training_batches(
    dataset: ImageDataset,
    make_views: MakeViews,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    total_steps: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    prefetch_factor: int = 2,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield this process's part of the batches of steps start_step .. total_steps - 1.

    Parameters
    ----------
    make_views : epoch -> one maker per view, such as (train_transform(...),) or two_views(...)
    batch_size : images of all processes together; a set smaller than it is one batch, whole
    rank, world_size : process `rank` gets every world_size-th image of a batch, from the rank-th on
    num_workers, prefetch_factor : loading processes, and the batches that each has ready ahead

    Raises
    ------
    ConfigError : the processes do not divide the batch; DataError : no images, or one cannot be read
    """
    if not len(dataset):
        raise DataError(f"{dataset.name} {dataset.split} holds no images")
    whole = min(batch_size, len(dataset))
    if whole % world_size:
        raise ConfigError(f"a batch of {whole} images is not divisible by {world_size} processes")
    schedule = _TrainingSchedule(
        len(dataset), batch_size, seed, range(start_step, total_steps), rank, world_size
    )
    reader = _Reader(dataset, make_views, seed, substitute=True)
    return iter(_Batches(reader, schedule, num_workers, prefetch_factor, pin_memory=pin_memory))


def evaluation_batches(
    dataset: ImageDataset,
    indices: Sequence[int],
    transform: Transform,
    *,
    batch_size: int,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> Iterable[Batch]:
    """Return the images at `indices` in that order, `batch_size` at a time, the last batch shorter.

    The result can be iterated again and again, by the same workers. Images that cannot be read stop the
    evaluation (DataError), or are left out: see Batch.unreadable.
    """
    requests = [_Request(0, index) for index in indices]
    schedule = [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]
    reader = _Reader(dataset, partial(_always, (transform,)), 0, substitute=False)
    return _Batches(reader, schedule, num_workers, 2, pin_memory=pin_memory)


def _always(makers: tuple[MakeView, ...], epoch: int) -> tuple[MakeView, ...]:
    """Return the same makers in every epoch; a lambda could not be sent to workers that are spawned."""
    return makers


class _Batches:
    """The batches of a schedule, read by workers that stay while this object lives."""

    def __init__(
        self,
        reader: _Reader,
        schedule: Iterable[list[_Request]],
        num_workers: int,
        prefetch_factor: int,
        *,
        pin_memory: bool,
    ) -> None:
        # It draws a base seed for its workers: from a generator of its own, not from torch's global one.
        self._loader: DataLoader[Batch] = DataLoader(
            reader,  # type: ignore[arg-type]
            batch_sampler=schedule,
            collate_fn=_collate,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            generator=rng.generator(0, "loader"),
        )

    def __iter__(self) -> Iterator[Batch]:
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork beside threads. The workers touch no lock of ours and no device.
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
            batches = iter(self._loader)
        for batch in batches:
            if isinstance(batch, DataError):
                raise batch
            yield batch
