"""Learning-rate schedules: a class each, so that no schedule holds, or keys, a value of another."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.config.schema import option, variants


@dataclass(kw_only=True)
class StepSchedule:
    """The learning rate falls by a factor every so many epochs."""

    name: str = option("learning-rate schedule", choices=("step",), default="step")
    step_epochs: int = option("epochs between two drops", low=1)
    gamma: float = option("factor of a drop", above=0, high=1)


@dataclass(kw_only=True)
class CosineSchedule:
    """The learning rate falls to 0 along half a cosine."""

    name: str = option("learning-rate schedule", choices=("cosine",), default="cosine")


@dataclass(kw_only=True)
class PlateauSchedule:
    """The learning rate falls when accuracy stops rising; one fall more than `drops` ends the run."""

    name: str = option("learning-rate schedule", choices=("plateau",), default="plateau")
    gamma: float = option("factor of a drop", above=0, high=1)
    patience: int = option("epochs without a new best before a drop", low=1)
    drops: int = option("drops before the next one ends the run", low=0)
    select_on: str = option("where the best is measured", choices=("validation", "test"))


Schedule = StepSchedule | CosineSchedule | PlateauSchedule
SCHEDULES = variants(Schedule)
