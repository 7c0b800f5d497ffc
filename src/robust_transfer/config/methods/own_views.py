"""What the methods have in common that draw views of an image by themselves."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.config.schema import option


@dataclass
class OwnViews:
    """Where a method's views are made."""

    augment_on: str = option(
        "where views are coloured and blurred: in the workers in 8 bits, or on the device in float32",
        choices=("cpu", "device"),
        default_for_hash="cpu",
    )
