"""Keys of random draws: what is drawn depends on (seed, purpose, index) alone. Standard library only."""

from __future__ import annotations

import hashlib


def key(seed: int, purpose: str, *index: int) -> int:
    """Hash a key to 63 bits, equal on every platform and Python version."""
    text = "/".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
