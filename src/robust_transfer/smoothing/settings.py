"""What a certification may be asked for; checked without torch, so that a plan can refuse it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robust_transfer.core.errors import ConfigError, did_you_mean

MODES = ("exact", "decide", "adaptive")
BLOCK = 100  # noise samples drawn under one key


def check_settings(
    *,
    sigma: float,
    n: int,
    alpha: float,
    n0: int = BLOCK,
    mode: str = "exact",
    radii: Sequence[float] = (0.5,),
    tolerance: float = 0.02,
    batch_size: int = BLOCK,
    prefix: str = "",
) -> None:
    """Refuse settings under which no certificate can be computed.

    Parameters
    ----------
    sigma : standard deviation of the noise, in units of [0, 1] pixels; 0 is the plain classifier
    n0, n : noise samples that pick the class and that bound its probability; multiples of 100
    alpha : probability with which one image's certificate may be false
    radii : L2 radii that mode `decide` answers, in units of [0, 1] pixels
    tolerance : share of the radius that mode `adaptive` may give away
    prefix : what stands before a name in an error, such as "certify."

    Raises
    ------
    ConfigError : the first setting that is out of range
    """

    def refuse(name: str, value: object, expected: str, *hints: str) -> None:
        raise ConfigError(f"{prefix}{name}={value} (expected {expected})", *hints)

    if mode not in MODES:
        refuse("mode", repr(mode), " or ".join(MODES), did_you_mean(str(mode), MODES))
    if not (math.isfinite(sigma) and sigma >= 0):
        refuse("sigma", sigma, "a finite number, at least 0")
    if not 0 < alpha < 0.5:
        refuse("alpha", alpha, "above 0 and below 0.5")
    for name, count in (("n0", n0), ("n", n)):
        if isinstance(count, bool) or count != int(count) or count < BLOCK or count % BLOCK:
            refuse(name, count, f"a multiple of {BLOCK}, at least {BLOCK}")
    if n < n0:
        refuse("n", n, f"at least {prefix}n0={n0}")
    if batch_size < 1:
        refuse("batch_size", batch_size, "at least 1")
    for radius in radii:
        if not (math.isfinite(radius) and radius >= 0):
            refuse("radii", list(radii), "finite numbers, at least 0")
    if mode == "decide" and not radii:
        refuse("radii", "[]", "the radii to decide", f"{prefix}radii=[0.5]")
    if mode == "adaptive" and not 0 < tolerance < 1:
        refuse("tolerance", tolerance, "above 0 and below 1")
