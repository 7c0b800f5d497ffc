"""Random numbers keyed by (seed, purpose, index): the only module that seeds.

A draw depends on its key alone, not on what was drawn before it: the same image gets the same noise
in any batch, process, order and after any restart.

No two keys share a generator's state: torch's CPU generator would keep 32 bits of a seed, so that of n hashed
keys about n^2 / 2^33 pairs would meet; its whole state is filled from the key by SHAKE-256 instead. GPUs'
generators keep 63 bits: draws of which there are many take a `counter` beside the hash, so that those that
differ in it alone have different states there too.

torch is imported where it draws: a report, which resamples by NumPy, starts in a fraction of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


# torch's layout of a CPU generator's state: 24 bytes, then the words of MT19937, 8 bytes each, then the rest.
HEADER, WORDS = 24, 624


def _text(seed: int, purpose: str, *index: int) -> bytes:
    return "/".join([str(int(seed)), purpose, *(str(int(i)) for i in index)]).encode()


def key(seed: int, purpose: str, *index: int) -> int:
    """Hash a key to 63 bits, equal on every platform and Python version."""
    return int.from_bytes(hashlib.sha256(_text(seed, purpose, *index)).digest()[:8], "big") >> 1


def numpy_generator(purpose: str, *index: int, seed: int = 0) -> np.random.Generator:
    """Return a NumPy generator whose stream depends on the key alone."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *index)))


def generator(
    seed: int, purpose: str, *index: int, counter: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator on `device` whose state depends on the key and the counter alone."""
    import torch

    keyed = torch.Generator(device=device)
    if keyed.device.type == "cpu":
        keyed.set_state(_cpu_state(seed, purpose, *index, counter=counter))
        return keyed
    return keyed.manual_seed((key(seed, purpose, *index) + counter) % 2**63)


def _cpu_state(seed: int, purpose: str, *index: int, counter: int = 0) -> torch.Tensor:
    """Fill all words of a CPU generator's state from the key."""
    text = _text(seed, purpose, *index, counter)
    state = _empty_state().clone()
    words = state.numpy()[HEADER : HEADER + 8 * WORDS].view(np.uint64)
    words[:] = np.frombuffer(hashlib.shake_256(text).digest(4 * WORDS), "<u4")
    return state


@cache
def _empty_state() -> torch.Tensor:
    """Return the state of a generator that has drawn nothing; its layout must be the one above."""
    import torch

    state = torch.Generator().manual_seed(1).get_state()
    words = state.numpy()[HEADER : HEADER + 8 * WORDS].view(np.uint64)
    if not np.array_equal(words, np.random.RandomState(1).get_state(legacy=False)["state"]["key"]):
        raise RuntimeError(f"torch {torch.__version__} keeps a CPU generator's state in another layout")
    return state


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
        torch.default_generator.set_state(_cpu_state(seed, purpose, *index))
        if others:
            torch.get_device_module(place).manual_seed(key(seed, purpose, *index))
        yield


def seed_global(seed: int, purpose: str, *index: int) -> None:
    """Key torch's global generator of the CPU anew, inside a `global_state` that gives it back."""
    import torch

    torch.default_generator.set_state(_cpu_state(seed, purpose, *index))


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
