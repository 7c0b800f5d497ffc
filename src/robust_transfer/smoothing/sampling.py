"""Sampling under noise: many images' noisy copies in forwards of one constant shape, and their votes.

B batch, C channels, H/W pixels, K classes, I images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn

from robust_transfer.core.arguments import whole
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.batching import padded
from robust_transfer.models.callables import Model, Wrapped
from robust_transfer.models.modes import device_of, eval_mode
from robust_transfer.smoothing.counts import ClassCounts, Unit
from robust_transfer.smoothing.noise import Purpose, noise_block
from robust_transfer.smoothing.settings import BLOCK

# Logits closer than this share of the row's largest may change places by rounding: some 16 units of the
# type's precision and, in float32, 256.
NEAR_TIES = {"fp32": 2**-16, "tf32": 2**-7, "bf16": 2**-5}
# A logit so many times the size of the two leading ones masks its class, and says nothing of their rounding.
MASKED_FROM = 16
LOW_PRECISION = {torch.float16: "tf32", torch.bfloat16: "bf16"}  # float16 has as many digits as TF32


class Images(Protocol):
    """Images (I, C, H, W): a tensor, a sequence of (C, H, W), or anything that gives one at a time."""

    def __getitem__(self, position: int, /) -> torch.Tensor:
        """Return the image at `position`, (C, H, W) float in [0, 1]."""
        ...


Pieces = list[tuple["Unit", int]]


@torch.no_grad()
def iter_votes(
    model: nn.Module,
    images: Images,
    units: Iterable[Unit],
    *,
    sigma: float,
    seed: int,
    purpose: Purpose,
    batch_size: int = BLOCK,
    arithmetic: str = "fp32",
) -> Iterator[ClassCounts]:
    """Yield the votes of each unit, in order, as soon as its last sample is through the model.

    Every forward has `batch_size` samples, from as many units as it takes; only the very last one is padded.

    Parameters
    ----------
    model : (B, C, H, W) in [0, 1] to logits (B, K), every submodule in eval mode
    images : (I, C, H, W) float in [0, 1], or a sequence of (C, H, W), each read when its turn comes
    sigma : standard deviation of the noise, in units of [0, 1] pixels; noise and sum are float32, not clamped
    arithmetic : what the model computes in ("fp32", "tf32", "bf16"), for what counts as a near tie

    Raises
    ------
    EvaluationError : a submodule in train mode, an image outside [0, 1], an output that is not (B, K) with K
        >= 2
    """
    if any(module.training for module in model.modules()):
        raise EvaluationError("the model is in train mode (expected every submodule in eval mode)")
    blocks = _noisy_blocks(model, images, units, sigma=sigma, seed=seed, purpose=purpose)
    total: torch.Tensor | None = None
    seen = 0
    for batch, pieces in _batches(blocks, batch_size):
        votes = _one_hot_votes(model(batch), batch_size, arithmetic)
        first = 0
        for unit, size in pieces:
            part = votes[first : first + size].sum(0)
            total = part if total is None else total + part
            first, seen = first + size, seen + size
            if seen == unit.stop - unit.start:
                yield _class_counts(total)
                total, seen = None, 0


@torch.no_grad()
def plain_votes(
    model: nn.Module, images: Sequence[torch.Tensor], *, batch_size: int, arithmetic: str = "fp32"
) -> list[ClassCounts]:
    """Take one vote per image without noise, for sigma = 0, with the model in eval mode for the call."""
    counts = []
    with eval_mode(model):
        for first in range(0, len(images), batch_size):
            part = [checked_image(image) for image in images[first : first + batch_size]]
            batch = padded(torch.stack(part), batch_size)
            batch = batch.to(device_of(model, batch.device), torch.float32)
            votes = _one_hot_votes(model(batch), batch_size, arithmetic)
            counts += [_class_counts(row) for row in votes[: len(part)]]
    return counts


@dataclass(frozen=True)
class Sampler:
    """Samples of one image under noise; arguments of users are checked when it is made."""

    model: nn.Module
    image: torch.Tensor
    sigma: float
    batch_size: int
    seed: int
    index: int

    @classmethod
    def of(cls, model: Model, image: Any, *, sigma: float, batch_size: Any, seed: Any, index: Any) -> Sampler:
        """Take what users hold: any callable model, a tensor or NumPy image, whole numbers of any type."""
        return cls(
            Wrapped(model),
            checked_image(image),
            sigma,
            whole("batch_size", batch_size, low=1),
            whole("seed", seed, low=0),
            whole("index", index, low=0),
        )

    def __call__(self, purpose: Purpose, start: int, stop: int) -> ClassCounts:
        """Count classes among samples start..stop-1 (Cohen et al. 2019, SAMPLEUNDERNOISE)."""
        unit = Unit(image=0, index=self.index, start=start, stop=stop)
        with eval_mode(self.model):
            (votes,) = iter_votes(
                self.model,
                [self.image],
                [unit],
                sigma=self.sigma,
                seed=self.seed,
                purpose=purpose,
                batch_size=self.batch_size,
            )
        return votes

    def without_noise(self) -> ClassCounts:
        """Take the one vote of the image itself."""
        return plain_votes(self.model, [self.image], batch_size=1)[0]


def checked_image(image: Any) -> torch.Tensor:
    """Return `image` as a tensor, or refuse what is not a (C, H, W) float image in [0, 1].

    Raises
    ------
    EvaluationError : another rank, an integer type, a pixel outside [0, 1] or NaN
    """
    if not isinstance(image, torch.Tensor):
        try:
            image = torch.as_tensor(image)
        except (TypeError, ValueError, RuntimeError):
            raise EvaluationError(
                f"an image is of type {type(image).__name__} (expected a tensor or array (C, H, W))"
            ) from None
    if image.ndim != 3 or 0 in image.shape:
        raise EvaluationError(f"an image has shape {tuple(image.shape)} (expected (C, H, W))")
    if not image.is_floating_point():
        raise EvaluationError(
            f"an image has type {image.dtype} (expected float in [0, 1])", "divide 8-bit images by 255"
        )
    low, high = image.min().item(), image.max().item()
    if not (low >= 0 and high <= 1):
        raise EvaluationError(
            f"an image has values in [{low:g}, {high:g}] (expected [0, 1])",
            "normalisation belongs inside the model; sigma and radii are in units of [0, 1] pixels",
        )
    return cast(torch.Tensor, image)


def _noisy_blocks(
    model: nn.Module, images: Images, units: Iterable[Unit], *, sigma: float, seed: int, purpose: Purpose
) -> Iterator[tuple[Unit, torch.Tensor]]:
    noise: torch.Tensor | None = None
    for unit in units:
        image = checked_image(images[unit.image])
        image = image.to(device_of(model, image.device), torch.float32)
        if noise is None or noise.shape[1:] != image.shape:
            # Drawn into again and again: fresh pages for each block cost as much as the numbers.
            noise = torch.empty((BLOCK, *image.shape), device=image.device)
        for block in range(unit.start // BLOCK, unit.stop // BLOCK):
            noise_block(
                image.shape,
                seed=seed,
                purpose=purpose,
                index=unit.index,
                block=block,
                device=image.device,
                out=noise,
            )
            # On the whole block, so that a sample's bits do not depend on where a batch cuts it.
            yield unit, noise.mul_(sigma).add_(image)


def _batches(
    blocks: Iterable[tuple[Unit, torch.Tensor]], batch_size: int
) -> Iterator[tuple[torch.Tensor, Pieces]]:
    """Cut a stream of blocks into batches of one size; copies of its first sample fill the last one up."""
    batch: torch.Tensor | None = None
    pieces: Pieces = []
    filled = 0
    for unit, samples in blocks:
        if batch_size == BLOCK:
            yield samples, [(unit, BLOCK)]
            continue
        if batch is None:
            batch = samples.new_empty((batch_size, *samples.shape[1:]))
        if samples.shape[1:] != batch.shape[1:]:
            raise EvaluationError(
                f"images have shapes {tuple(batch.shape[1:])} and {tuple(samples.shape[1:])} (expected one)"
            )
        while len(samples):
            taken = samples[: batch_size - filled]
            batch[filled : filled + len(taken)] = taken
            pieces.append((unit, len(taken)))
            filled += len(taken)
            samples = samples[len(taken) :]
            if filled == batch_size:
                yield batch, pieces
                pieces, filled = [], 0
    if batch is not None and filled:
        batch[filled:] = batch[0].clone()
        yield batch, pieces


def _one_hot_votes(logits: torch.Tensor, batch_size: int, arithmetic: str) -> torch.Tensor:
    """Turn logits into rows of 0 and 1: (B, K + 3), the classes and then tie, near tie, non-finite."""
    if logits.ndim != 2 or len(logits) != batch_size or logits.shape[1] < 2:
        raise EvaluationError(
            f"the model's output has shape {tuple(logits.shape)} (expected ({batch_size}, K) with K >= 2)"
        )
    share = max(NEAR_TIES[arithmetic], NEAR_TIES[LOW_PRECISION.get(logits.dtype, "fp32")])
    if logits.dtype != torch.float64:
        logits = logits.float()
    masked = logits == -torch.inf  # as heads mask classes: it is never the top one's
    top = logits.topk(2, dim=1)
    finite = (logits.isfinite() | masked).all(dim=1) & top.values[:, 0].isfinite()
    gap = top.values[:, 0] - top.values[:, 1]
    sizes = torch.where(masked, 0.0, logits.abs())
    largest = torch.minimum(sizes.amax(1), MASKED_FROM * sizes.gather(1, top.indices).amax(1))
    # Where a row ties, which index comes first is unspecified on a GPU: it votes for no class.
    voted = finite & (gap > 0)
    classes = nn.functional.one_hot(top.indices[:, 0], logits.shape[1]) * voted[:, None]
    uncertain = torch.stack([finite & (gap == 0), finite & (gap <= share * largest), ~finite], dim=1)
    return torch.cat([classes, uncertain.long()], dim=1)


def _class_counts(total: torch.Tensor) -> ClassCounts:
    *votes, ties, near_ties, nonfinite = total.tolist()
    voted = Counter({name: count for name, count in enumerate(votes) if count})
    return ClassCounts(voted, ties, near_ties, nonfinite, len(votes))
