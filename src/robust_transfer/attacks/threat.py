"""Norm balls around images in the box [0, 1]: steps, projections, starting points, distances."""

# B batch, C channels, H/W pixels

from __future__ import annotations

import torch
from torch import Tensor

from robust_transfer.core.choices import NORMS
from robust_transfer.core.errors import EvaluationError, did_you_mean

# Keeps 0/0 away from images whose gradient vanishes: their unit vector is 0 and they stay where they are.
TINY = 1e-12


def check_ball(norm: str, eps: float) -> None:
    """Refuse a norm without code and a radius that is not a positive number."""
    if norm not in NORMS:
        raise EvaluationError(
            f"unknown norm (expected one of {', '.join(NORMS)}, found '{norm}')",
            did_you_mean({"inf": "linf", "2": "l2"}.get(str(norm), str(norm).lower()), NORMS),
        )
    if not 0 < eps < float("inf"):
        raise EvaluationError(f"eps must be a positive number in [0, 1] pixel units (found {eps})")


def l2_norms(vectors: Tensor) -> Tensor:
    """Return the L2 norm of each image of (B, C, H, W), shaped (B, 1, 1, 1)."""
    return vectors.flatten(1).square().sum(1).sqrt().view(-1, 1, 1, 1)


def direction(vectors: Tensor, *, norm: str) -> Tensor:
    """Return the steepest direction of unit length: v / ||v||_2 for L2, sign(v) for L-infinity."""
    return vectors.sign() if norm == "linf" else vectors / (l2_norms(vectors) + TINY)


def project(points: Tensor, centers: Tensor, *, norm: str, eps: float) -> Tensor:
    """Bring points into the ball of radius eps around their centers, then into the box [0, 1].

    For L-infinity this is the exact projection. For L2 it scales first and clamps second (Croce & Hein 2020):
    not the nearest point of ball and box, but a point of both, as clamping towards a center inside
    the box can only shorten the way to it.
    """
    if norm == "linf":
        return torch.minimum(torch.maximum(points, centers - eps), centers + eps).clamp(0, 1)
    offset = points - centers
    length = l2_norms(offset)
    return (centers + offset / (length + TINY) * length.clamp(max=eps)).clamp(0, 1)


def start_points(images: Tensor, noise: Tensor, *, norm: str, eps: float, reach: bool = False) -> Tensor:
    """Turn standard normal noise (B, C, H, W) into random starting points within ball and box.

    L2: a uniform direction, on the sphere of radius eps (as APGD starts; in the many dimensions of an image
    a uniform draw from the ball ends within a fraction of a percent of the sphere anyway).
    L-infinity: uniform in the cube, 2 Phi(noise) - 1; with `reach` each image's noise is stretched until its
    largest pixel touches the cube's face, as APGD starts.
    """
    if norm == "l2":
        return (images + eps * direction(noise, norm="l2")).clamp(0, 1)
    cube: Tensor = 2 * torch.special.ndtr(noise) - 1
    if reach:
        cube = cube / (cube.abs().flatten(1).amax(1).view(-1, 1, 1, 1) + TINY)
    return (images + eps * cube).clamp(0, 1)


def distances(points: Tensor, centers: Tensor, *, norm: str) -> Tensor:
    """Return each image's distance from its center, computed in float64: (B,)."""
    offset = (points.double() - centers.double()).flatten(1)
    length: Tensor = torch.linalg.vector_norm(offset, ord=2 if norm == "l2" else float("inf"), dim=1)
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
