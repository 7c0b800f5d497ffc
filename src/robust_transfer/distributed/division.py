"""Whether a number of devices divides a batch; imports no torch, so that a plan can ask."""

from __future__ import annotations

from robust_transfer.core.errors import ConfigError


def check_division(batch_size: int, number: int, *, what: str = "a batch") -> None:
    """Refuse a number of devices that does not divide the images of an optimiser step."""
    if batch_size % number:
        dividing = [str(n) for n in range(1, number) if batch_size % n == 0]
        raise ConfigError(
            f"{what} of {batch_size} images is not divisible by {number} devices",
            f"choose runtime.devices from: {', '.join(dividing)}",
        )
