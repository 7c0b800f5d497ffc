"""Where a run's numbers go: metrics.jsonl always, boards where they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core.errors import ConfigError, install_extra
from robust_transfer.core.files import write_text
from robust_transfer.training.boards import Board, open_boards

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


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


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger whose package is not installed; imports none."""
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise ConfigError(
                f"runtime.loggers names {name}, which is not installed",
                install_extra(name),
            )


def open_loggers(
    directory: Path, runtime: RuntimeConfig, *, start_step: int
) -> tuple[JsonlLogger, list[Board]]:
    """Open metrics.jsonl and the boards for a run in `directory` that goes on after `start_step`."""
    check_loggers(runtime.loggers)
    lines = JsonlLogger(directory / "metrics.jsonl", start_step=start_step)
    return lines, open_boards(directory, runtime, start_step=start_step)
