"""Norm balls around images in the box [0, 1]: steps, projections, starting points, distances."""

# B batch, C channels, H/W pixels

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robust_transfer.core.choices import ALL_NORMS
from robust_transfer.core.errors import EvaluationError, did_you_mean

# Keeps 0/0 away from images whose gradient vanishes: their unit vector is 0 and they stay where they are.
TINY = 1e-12
ORDERS = {"l1": 1, "l2": 2, "linf": float("inf")}


def check_ball(norm: str, eps: float) -> None:
    """Refuse a norm without code and a radius that is not a positive number."""
    if norm not in ALL_NORMS:
        raise EvaluationError(
            f"unknown norm (expected one of {', '.join(ALL_NORMS)}, found '{norm}')",
            did_you_mean({"inf": "linf", "2": "l2", "1": "l1"}.get(str(norm), str(norm).lower()), ALL_NORMS),
        )
    if not 0 < eps < float("inf"):
        raise EvaluationError(f"eps must be a positive number in [0, 1] pixel units (found {eps})")


def l2_norms(vectors: Tensor) -> Tensor:
    """Return the L2 norm of each image of (B, C, H, W), shaped (B, 1, 1, 1)."""
    return vectors.flatten(1).square().sum(1).sqrt().view(-1, 1, 1, 1)


def direction(vectors: Tensor, *, norm: str) -> Tensor:
    """Return an ascent direction of unit length: the steepest for L2, v / ||v||_2, and L-infinity, sign(v).

    For L1 it is v / ||v||_1: the steepest would move one value alone, which the box soon stops.
    """
    if norm == "linf":
        return vectors.sign()
    length = l2_norms(vectors) if norm == "l2" else wide(vectors.flatten(1).abs().sum(1))
    return vectors / (length + TINY)


def wide(numbers: Tensor) -> Tensor:
    """Shape (B,) as (B, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)


def project(points: Tensor, centers: Tensor, *, norm: str, eps: float | Tensor) -> Tensor:
    """Bring points into the ball of radius eps, one for all or (B, 1, 1, 1), and into the box [0, 1].

    For L-infinity and L1 this is the exact projection. For L2 it scales first and clamps second (Croce & Hein
    2020): not the nearest point of ball and box, but a point of both, as clamping towards a center inside
    the box can only shorten the way to it.
    """
    if norm == "l1":
        return (centers + project_l1(points - centers, centers, eps=eps)).clamp(0, 1)
    if norm == "linf":
        return torch.minimum(torch.maximum(points, centers - eps), centers + eps).clamp(0, 1)
    offset = points - centers
    length = l2_norms(offset)
    return (centers + offset / (length + TINY) * length.clamp(max=eps)).clamp(0, 1)


def project_l1(offsets: Tensor, centers: Tensor, *, eps: float | Tensor) -> Tensor:
    """Return the nearest offsets (B, C, H, W) of length eps at most that lead from the centers into the box.

    Croce & Hein 2021 (arXiv 2103.01208), proposition 2.1: sign(v) min(max(|v| - t, 0), room), where a pixel's
    room is how far the box lets it go. The length falls with t, linearly between the values |v| and
    |v| - room at which a pixel begins or ends to move; t = 0 where the box alone keeps the offset short.
    """
    size = offsets.flatten(1).abs().double()
    room = torch.where(offsets > 0, 1 - centers, centers).flatten(1).double().clamp(min=0)
    radius = torch.as_tensor(eps, dtype=torch.float64, device=size.device).view(-1, 1)
    short = torch.minimum(size, room).sum(1, keepdim=True) <= radius
    # Few pixels move in the end, and only breaks above t matter: sorting all takes four times as long.
    shift, reached = _shift(size, room, radius, count=max(2, size.shape[1] // 8))
    if not (reached | short).all():
        shift, reached = _shift(size, room, radius, count=2 * size.shape[1])
    shift = torch.where(reached, shift, 0.0).clamp(min=0)
    kept = torch.minimum((size - shift).clamp(min=0), room).view_as(offsets)
    return offsets.sign() * kept.to(offsets.dtype)


def _shift(size: Tensor, room: Tensor, radius: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Solve for t of `project_l1` among the `count` largest breaks; return it and where it is among them."""
    breaks, order = torch.cat([size, (size - room).clamp(min=0)], 1).topk(count)
    slopes = torch.where(order < size.shape[1], 1.0, -1.0).double().cumsum(1)
    # From t = infinity downwards: the length at each break.
    length = functional.pad((slopes[:, :-1] * (breaks[:, :-1] - breaks[:, 1:])).cumsum(1), (1, 0))
    after = (length < radius).sum(1, keepdim=True)  # the first break at which the offset is too long
    last = after.clamp(1, count - 1)
    beyond = (length.gather(1, last) - radius) / slopes.gather(1, last - 1).clamp(min=1)
    return breaks.gather(1, last) + beyond, after < count


def start_points(images: Tensor, noise: Tensor, *, norm: str, eps: float, reach: bool = False) -> Tensor:
    """Turn standard normal noise (B, C, H, W) into random starting points within ball and box.

    L1: the noise itself, projected. L2: a uniform direction, on the sphere of radius eps (as APGD starts; in
    the many dimensions of an image a uniform draw from the ball ends within a fraction of a percent of the
    sphere anyway).
    L-infinity: uniform in the cube, 2 Phi(noise) - 1; with `reach` each image's noise is stretched until its
    largest pixel touches the cube's face, as APGD starts.
    """
    if norm == "l1":
        return project(images + noise, images, norm="l1", eps=eps)
    if norm == "l2":
        return (images + eps * direction(noise, norm="l2")).clamp(0, 1)
    cube: Tensor = 2 * torch.special.ndtr(noise) - 1
    if reach:
        cube = cube / (cube.abs().flatten(1).amax(1).view(-1, 1, 1, 1) + TINY)
    return (images + eps * cube).clamp(0, 1)


def distances(points: Tensor, centers: Tensor, *, norm: str) -> Tensor:
    """Return each image's distance from its center, computed in float64: (B,)."""
    offset = (points.double() - centers.double()).flatten(1)
    length: Tensor = torch.linalg.vector_norm(offset, ord=ORDERS[norm], dim=1)
    return length


def tighten(points: Tensor, centers: Tensor, *, norm: str, eps: float) -> Tensor:
    """Shorten offsets that float32 rounding has made longer than eps, measured in float64."""
    if norm == "linf":
        limit: Tensor | float = eps
        outside = (points.double() - centers.double()).abs() > eps
        tight = points
    else:
        length = distances(points, centers, norm=norm).view(-1, 1, 1, 1)
        outside = length > eps
        limit = (points.double() - centers.double()) * (eps / length.clamp(min=eps))
        tight = (centers + limit).to(points.dtype)
        limit = limit.abs()
    # Each pixel is rounded towards its center: none is longer than it should be, so no image is.
    longer = (tight.double() - centers.double()).abs() > limit
    return torch.where(outside, torch.where(longer, torch.nextafter(tight, centers), tight), points)
