"""Keys of stages: hashes of plain values that are equal on every machine. Standard library only."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def content_key(values: Any) -> str:
    """Hash plain values by their canonical JSON: sha256 in hexadecimal."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
