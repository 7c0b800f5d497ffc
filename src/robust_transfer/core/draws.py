"""Keyed NumPy generators for resampling.

The key is that of `robust_transfer.core.rng`, which imports torch and therefore is not imported here: a
report must start in a fraction of a second.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, purpose: str, *index: int) -> int:
    """Hash a key to 63 bits, the same number as `robust_transfer.core.rng.key`."""
    text = "/".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(purpose: str, *index: int, seed: int = 0) -> np.random.Generator:
    """Return a NumPy generator whose stream depends on the key alone."""
    return np.random.Generator(np.random.Philox(key(seed, purpose, *index)))
