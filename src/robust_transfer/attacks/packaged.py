"""FAB and Square from the package pyautoattack, made independent of the batch an image stands in."""

# B images of a batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError, install_extra
from robust_transfer.models import batching

NORMS = {"l1": "L1", "l2": "L2", "linf": "Linf"}
Predict = Callable[[Tensor], Tensor]


def attack_classes() -> tuple[Any, Any]:
    """Return the package's classes of FAB and Square, or say how to install them."""
    try:
        from pyautoattack.fab_pt import FABAttack_PT
        from pyautoattack.square import SquareAttack
    except ImportError as error:
        raise EvaluationError(
            "autoattack needs the package pyautoattack", install_extra("autoattack")
        ) from error
    return FABAttack_PT, SquareAttack


def constant_shape(model: Predict, size: int, shapes: str) -> Predict:
    """Return a function that forwards any number of images at most `size` at a time (`batching.forward`)."""

    def predict(images: Tensor) -> Tensor:
        return batching.forward(model, images, size, shapes).float()

    return predict


def fab_point(
    predict: Predict,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    num_steps: int,
    rank: int | None,
    random_start: bool = False,
) -> Tensor:
    """Look for the nearest point that is taken for each image's `rank`-th likeliest class, 2 for the second.

    Croce & Hein 2020 (arXiv 1907.02044), targeted; with rank None the nearest point of any other class. From
    the images themselves it draws nothing at random; with `random_start` it draws for the whole batch.
    Images without such a point come back as they are; found points may be farther than eps.
    """
    fab = attack_classes()[0](predict, norm=NORMS[norm], n_iter=num_steps, eps=eps, device=images.device)
    fab.target_class = rank
    targeted = rank is not None
    found: Tensor = fab.attack_single_run(images, labels, use_rand_start=random_start, is_targeted=targeted)
    return found


def square_point(
    predict: Predict,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    num_queries: int,
    seed: int,
    index: Sequence[int],
) -> Tensor:
    """Search at random, without gradients, within the ball; return each image's last accepted point.

    Andriushchenko et al. 2020 (arXiv 1912.00049). As in the package, all images share the places of the
    squares, and for L-infinity their colours; here these are drawn by `seed` alone, and what is drawn for
    each image (the colours for L2, the stripes of the start for L-infinity) by (seed, index). So no draw
    depends on the other images of the batch.
    """
    square = attack_classes()[1](
        predict,
        norm=NORMS[norm],
        n_queries=num_queries,
        eps=eps,
        p_init=0.8,
        resc_schedule=False,
        device=images.device,
    )
    square.init_hyperparam(images)
    draws = _OwnDraws(square, [rng.generator(seed, "square", name) for name in index], images.device)
    square.random_choice, square.margin_and_loss = draws.random_choice, draws.margin_and_loss
    with rng.global_state(seed, "square_places"):
        found: Tensor = square.attack_single_run(images, labels)[1]
    return found


class _OwnDraws:
    """Draws signs from one generator an image, and drops the generators of images that are fooled."""

    def __init__(self, square: Any, generators: list[torch.Generator], device: torch.device) -> None:
        self._margin_and_loss = square.margin_and_loss
        self._generators, self._device = generators, device

    def margin_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Answer for the images that are left; the package goes on with those whose margin is positive."""
        margin, loss = self._margin_and_loss(images, labels)
        kept = (margin > 0).tolist()
        self._generators = [g for g, keep in zip(self._generators, kept, strict=True) if keep]
        return margin, loss

    def random_choice(self, shape: Sequence[int]) -> Tensor:
        """Draw signs: (B, ...) image by image, (C, 1, 1) for all of them from torch's global state."""
        if len(shape) == 3:
            numbers = torch.rand(*shape)
        elif self._generators:
            assert shape[0] == len(self._generators), "pyautoattack draws for other images than are left"
            numbers = torch.stack([torch.rand(*shape[1:], generator=g) for g in self._generators])
        else:
            numbers = torch.ones(*shape)
        return (2 * numbers - 1).sign().to(self._device)
