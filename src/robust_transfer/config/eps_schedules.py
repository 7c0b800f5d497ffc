"""How the radius of the attack inside a training step grows over a run: a class each."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.config.schema import option, variants
from robust_transfer.core.errors import ConfigError


@dataclass(kw_only=True)
class ConstantEps:
    """The attack has its full radius in every step."""

    name: str = option("growth of the attack's radius", choices=("constant",), default="constant")


@dataclass(kw_only=True)
class RampEps:
    """Clean images first, then a radius that grows linearly with the steps (Ngnawe et al. 2025)."""

    name: str = option("growth of the attack's radius", choices=("ramp",), default="ramp")
    start: float = option("fraction of the run that is trained on clean images", low=0, high=1)
    end: float = option("fraction of the run after which the radius is eps", low=0, high=1)

    def check(self, path: str) -> None:
        """Refuse a ramp that falls."""
        if self.start > self.end:
            raise ConfigError(f"{path}.start={self.start} (expected at most {path}.end={self.end})")


@dataclass(kw_only=True)
class EpochsEps:
    """Epoch e, counted from 0, has (e + 1) / epochs of the radius, at most all of it (Salman et al. 2019)."""

    name: str = option("growth of the attack's radius", choices=("epochs",), default="epochs")
    epochs: int = option("epochs until the radius is eps", low=1)


EpsSchedule = ConstantEps | RampEps | EpochsEps
EPS_SCHEDULES = variants(EpsSchedule)


def attacked_fraction(schedule: EpsSchedule) -> float:
    """Return the fraction of a run's steps in which there is an attack."""
    return 1 - schedule.start if isinstance(schedule, RampEps) else 1.0
