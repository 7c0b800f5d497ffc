"""Keyed NumPy generators for resampling; torch-free, since a report must start in a fraction of a second."""

from __future__ import annotations

import numpy as np

from robust_transfer.core.keys import key


def generator(purpose: str, *index: int, seed: int = 0) -> np.random.Generator:
    """Return a NumPy generator whose stream depends on the key alone."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *index)))
