"""Where a run's numbers go: metrics.jsonl always; TensorBoard and W&B where asked for, imported then."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from robust_transfer.core.errors import ConfigError, install_extra
from robust_transfer.core.files import write_text

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


class Logger(Protocol):
    """Takes the numbers of one step."""

    def log(self, values: Mapping[str, float | int]) -> None:
        """Write one line; `step` is the number of optimiser steps done."""

    def close(self) -> None:
        """Write what is still in memory."""


class JsonlLogger:
    """One JSON object a line; a resumed run first cuts the lines after its checkpoint.

    Numbers are written in full; what is not finite is written as null, which JSON has no other word for.
    """

    def __init__(self, path: Path, *, start_step: int) -> None:
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= start_step]
        write_text(path, "".join(kept))
        self._stream = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by close()

    def log(self, values: Mapping[str, float | int]) -> None:
        """Append one line and hand it to the operating system."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._stream.write(json.dumps(finite) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1].splitlines(keepends=True)


class TensorBoardLogger:
    """Scalars under `<directory>/tensorboard`."""

    def __init__(self, directory: Path, *, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(directory / "tensorboard"), purge_step=start_step + 1)

    def log(self, values: Mapping[str, float | int]) -> None:
        """Add every number but the step as a scalar."""
        for name, value in values.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(values["step"]))

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()


class WandbLogger:
    """One W&B run a stage, named by its directory, so that a resumed stage goes on in the same run."""

    def __init__(self, directory: Path) -> None:
        import wandb

        name = directory.name
        self._run: Any = wandb.init(
            project="robust-transfer", id=name, name=name, dir=str(directory), resume="allow"
        )

    def log(self, values: Mapping[str, float | int]) -> None:
        """Send the numbers of one step."""
        self._run.log(dict(values), step=int(values["step"]))

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger whose package is not installed; imports none."""
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise ConfigError(
                f"runtime.loggers names {name}, which is not installed",
                install_extra(name),
            )


def open_loggers(directory: Path, names: Sequence[str], *, start_step: int) -> list[Logger]:
    """Open metrics.jsonl and the further loggers for a run in `directory` that goes on after `start_step`."""
    check_loggers(names)
    loggers: list[Logger] = [JsonlLogger(directory / "metrics.jsonl", start_step=start_step)]
    if "tensorboard" in names:
        loggers.append(TensorBoardLogger(directory, start_step=start_step))
    if "wandb" in names:
        loggers.append(WandbLogger(directory))
    return loggers
