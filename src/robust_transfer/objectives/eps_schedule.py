"""The radius of the attack inside a training step, as a function of where in the run the step stands."""

from __future__ import annotations

from robust_transfer.config.eps_schedules import EpochsEps, EpsSchedule, RampEps
from robust_transfer.objectives.objective import Progress


def scheduled_eps(done: float, *, eps: float, start: float, end: float) -> float:
    """Return 0 up to the fraction `start` of a run, then a line that reaches `eps` at the fraction `end`.

    Ngnawe et al. 2025 (arXiv 2509.23325), which found it to be what a backbone that is not robust needs.

    Parameters
    ----------
    done : fraction of the run's steps that are done
    eps : the full radius
    start, end : fractions of the run; start = end = 0 is a constant radius
    """
    if done >= end:
        return eps
    return eps * max(0.0, done - start) / (end - start)


def eps_at(schedule: EpsSchedule, eps: float, progress: Progress) -> float:
    """Return the radius of a step: by the step for a ramp (the paper counts epochs), else by the epoch."""
    if isinstance(schedule, RampEps):
        assert progress.total is not None, "a ramp needs an end"
        return scheduled_eps(progress.step / progress.total, eps=eps, start=schedule.start, end=schedule.end)
    if isinstance(schedule, EpochsEps):
        return min(eps, eps * (progress.epoch + 1) / schedule.epochs)
    return eps
