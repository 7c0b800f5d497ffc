"""Random numbers keyed by (seed, purpose, index): the only module that seeds.

A draw depends on its key alone, not on what was drawn before it: the same image gets the same noise
in any batch, process, order and after any restart.

torch's CPU generator keeps 32 bits of a seed, so of n hashed keys about n^2 / 2^33 pairs meet. Draws of which
there are many take a `counter`, added to the hash: those that differ in it alone, by less than 2^32, have
different states by construction. (CUDA generators keep all 63 bits.)

torch is imported where it draws: a report, which resamples by NumPy, starts in a fraction of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def key(seed: int, purpose: str, *index: int) -> int:
    """Hash a key to 63 bits, equal on every platform and Python version."""
    text = "/".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(purpose: str, *index: int, seed: int = 0) -> np.random.Generator:
    """Return a NumPy generator whose stream depends on the key alone."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *index)))


def generator(
    seed: int, purpose: str, *index: int, counter: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator on `device` whose state depends on the key and the counter alone."""
    import torch

    return torch.Generator(device=device).manual_seed((key(seed, purpose, *index) + counter) % 2**63)


def normal(
    shape: Sequence[int],
    seed: int,
    purpose: str,
    *index: int,
    counter: int = 0,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw standard normal float32 numbers of `shape` for one key."""
    import torch

    keyed = generator(seed, purpose, *index, counter=counter, device=device)
    return torch.randn(tuple(shape), generator=keyed, device=device)


@contextmanager
def global_state(seed: int, purpose: str, *index: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run code that reads torch's global generators (torchvision's transforms, weight init) under a key.

    The CPU's generator, and that of `device` where it is another; both are given back as they were.
    """
    import torch

    place = torch.device(device)
    others = [] if place.type == "cpu" else [place]
    with torch.random.fork_rng(devices=others, device_type=place.type if others else "cuda"):
        torch.default_generator.manual_seed(key(seed, purpose, *index))
        if others:
            torch.get_device_module(place).manual_seed(key(seed, purpose, *index))
        yield


def seed_global(seed: int, purpose: str, *index: int) -> None:
    """Key torch's global generator of the CPU anew, inside a `global_state` that gives it back."""
    import torch

    torch.default_generator.manual_seed(key(seed, purpose, *index))


@contextmanager
def numpy_state(seed: int, purpose: str, *index: int) -> Iterator[None]:
    """Run code that reads NumPy's global generator under a key; its state is given back as it was."""
    before = np.random.get_state()
    keyed: Any = np.random.MT19937(np.random.SeedSequence(key(seed, purpose, *index))).state
    try:
        np.random.set_state(keyed)
        yield
    finally:
        np.random.set_state(before)
