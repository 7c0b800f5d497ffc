"""Randomized smoothing: certificates for any classifier of [0, 1] images.

Names are resolved on first use, so that `smoothing.settings` stays importable without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_transfer.core.lazy import lazily

if TYPE_CHECKING:
    from robust_transfer.smoothing.certification import (
        ABSTAIN,
        Certificate,
        certify,
        certify_counts,
        predict,
    )

__all__ = ["ABSTAIN", "Certificate", "certify", "certify_counts", "predict"]

_HOME = {
    "ABSTAIN": "certification",
    "Certificate": "certification",
    "certify": "certification",
    "certify_counts": "certification",
    "predict": "certification",
}

__getattr__ = lazily(__name__, _HOME)
