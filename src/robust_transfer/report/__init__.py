"""From records to tables, figures and verdicts; nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_transfer.core.lazy import lazily

if TYPE_CHECKING:
    from robust_transfer.report.index.frames import Frames, load

__all__ = ["Frames", "load"]

__getattr__ = lazily(__name__, {"Frames": "index.frames", "load": "index.frames"})
