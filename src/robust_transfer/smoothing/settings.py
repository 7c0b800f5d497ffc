"""What a certification may be asked for; checked without torch, so that a plan can refuse it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import Any

from robust_transfer.core.arguments import real, whole, written
from robust_transfer.core.choices import ANALYSES
from robust_transfer.core.errors import ConfigError, did_you_mean

MODES = ("exact", "decide", "adaptive")
BLOCK = 100  # noise samples drawn under one key


@dataclass(frozen=True)
class Settings:
    """The settings of one certification, validated when made: who holds them need not check them again.

    sigma : standard deviation of the noise, in units of [0, 1] pixels; 0 is the plain classifier
    n0, n : noise samples that pick the class and that bound its probability; multiples of 100
    alpha : probability with which one image's certificate may be false
    mode : "exact", "decide" (yes or no at each radius) or "adaptive" (a radius near the exact one)
    radii : L2 radii that mode `decide` answers, in units of [0, 1] pixels
    tolerance : share of the radius that mode `adaptive` may give away
    analyses : when `decide` and `adaptive` look at the counts; "doubling" is that of versions up to 3
    prefix : what stands before a name in an error, such as "certify."

    Raises
    ------
    ConfigError : the first setting that is out of range
    """

    sigma: float = 0.5
    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    mode: str = "exact"
    radii: Sequence[float] = (0.5,)
    tolerance: float = 0.02
    analyses: str = "dense"
    prefix: InitVar[str] = ""

    def __post_init__(self, prefix: str) -> None:
        def expect(holds: bool, name: str, expected: str, *hints: str) -> None:
            if not holds:
                value = getattr(self, name)
                value = list(value) if isinstance(value, tuple) else value
                raise ConfigError(f"{prefix}{name}={written(value)} (expected {expected})", *hints)

        if not isinstance(self.mode, str) or self.mode not in MODES:
            expect(False, "mode", " or ".join(MODES), did_you_mean(written(self.mode), MODES))
        expect(self.analyses in ANALYSES, "analyses", " or ".join(ANALYSES))
        for name in ("sigma", "alpha", "tolerance"):
            object.__setattr__(self, name, real(prefix + name, getattr(self, name)))
        for name in ("n0", "n"):
            object.__setattr__(self, name, whole(prefix + name, getattr(self, name)))
        object.__setattr__(self, "radii", _radii(prefix + "radii", self.radii))
        expect(self.sigma >= 0, "sigma", "at least 0")
        expect(0 < self.alpha < 0.5, "alpha", "above 0 and below 0.5")
        for name, count in (("n0", self.n0), ("n", self.n)):
            expect(count >= BLOCK and count % BLOCK == 0, name, f"a multiple of {BLOCK}, at least {BLOCK}")
        expect(self.n >= self.n0, "n", f"at least {prefix}n0={self.n0}")
        expect(all(radius >= 0 for radius in self.radii), "radii", "finite numbers, at least 0")
        some_radius = self.mode != "decide" or len(self.radii) > 0
        expect(some_radius, "radii", "the radii to decide", f"{prefix}radii=[0.5]")
        expect(self.mode != "adaptive" or 0 < self.tolerance < 1, "tolerance", "above 0 and below 1")


def _radii(name: str, value: Any) -> tuple[float, ...]:
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    values = value if several and getattr(value, "ndim", True) else (value,)
    return tuple(real(name, radius) for radius in values)
