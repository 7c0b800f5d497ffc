"""What training cost, read from the status of the stages that runs came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust_transfer.report.index.collect import Index, Run


@dataclass(frozen=True)
class Cost:
    """Device-seconds: wall seconds times the number of devices. None where a stage is not in the store.

    pretrain : of all pre-trainings, which data sets share; 0 without one
    finetune : mean over the runs
    evaluate : mean over the runs, on one device
    """

    pretrain: float | None
    finetune: float | None
    evaluate: float | None
    device: str


def cost_of(index: Index, runs: Sequence[Run]) -> Cost:
    """Return the cost behind a cell's runs."""
    first = runs[0].lineage
    keys = dict.fromkeys(run.lineage.pretrain_key for run in runs)
    networks = [] if first.pretrain == "none" else [_seconds(index, key) for key in keys]
    pretrain = None if None in networks else sum(seconds or 0.0 for seconds in networks)
    finetunes = [_seconds(index, run.lineage.finetune_key) for run in runs]
    finetune_seconds = [seconds for seconds in finetunes if seconds is not None]
    evaluations = [run.summary.wall_seconds for run in runs if run.summary.wall_seconds]
    devices = {index.status(run.lineage.finetune_key).device or "" for run in runs} - {""}
    return Cost(pretrain, _mean(finetune_seconds), _mean(evaluations), ", ".join(sorted(devices)))


def _seconds(index: Index, key: str | None) -> float | None:
    status = index.status(key)
    return None if status.wall_seconds is None else status.wall_seconds * (status.world_size or 1)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def duration(seconds: float | None) -> str:
    """Write device-seconds for a table: seconds below an hour, device-hours above."""
    if seconds is None:
        return "unknown"
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"
