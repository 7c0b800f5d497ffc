"""TensorBoard and W&B: what a stage is, how it goes, what an evaluation found. Imported where asked for."""

# B images, H/W pixels

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.store.directories import StageDirectory
from robust_transfer.store.stage_config import read_identity

NUM_EXAMPLES = 8  # images that are shown
NUM_ROWS = 1000  # rows of an evaluation's records that are shown
PLACES = {
    "lr": "optimizer/lr",
    "epoch": "progress/epoch",
    "validation_accuracy": "validation/accuracy",
    "seconds": "time/seconds",
    "images_per_second": "time/images_per_second",
    "data_wait": "time/data_wait",
}

Numbers = Mapping[str, float | None]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Subject:
    """What a board is told of a stage, so that runs can be filtered by it.

    config : what the key is made of and how the model came about, by dotted name
    group : the experiment that the stage was first computed for, else its two methods
    job_type : pretrain, finetune or eval
    """

    name: str
    config: dict[str, Any]
    group: str
    job_type: str
    tags: tuple[str, ...]

    @classmethod
    def of(cls, directory: Path) -> Subject:
        """Read it from a stage's directory."""
        status = StageDirectory(directory).status()
        lineage = status.lineage
        methods = [name for name in (lineage.pretrain, lineage.finetune) if name]
        config = {**_flat(read_identity(directory)), **_flat({"lineage": lineage.values()})}
        group = lineage.experiment or "-".join(methods) or directory.name
        tags = [*methods, lineage.dataset or lineage.source, *status.marks]
        return cls(
            name=directory.name,
            config=config,
            group=group,
            job_type=directory.parent.name,
            tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        )


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{name}.")
        else:
            flat[f"{path}{name}"] = value
    return flat


def placed(values: Numbers) -> dict[str, float]:
    """Return numbers of a training step under names with a slash, which boards show in groups."""
    return {
        PLACES.get(name, f"train/{name}"): value
        for name, value in values.items()
        if name != "step" and value is not None
    }


class Board(Protocol):
    """Takes the numbers of training steps, example images, and the result of an evaluation."""

    def log(self, values: Mapping[str, float | int]) -> None:
        """Show numbers; `step` is the number of optimiser steps done."""

    def images(self, name: str, images: Tensor, step: int) -> None:
        """Show (B, 3, H, W) uint8 images."""

    def result(self, metrics: Numbers, records: Rows) -> None:
        """Show the metrics of an evaluation and one row per image."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Event files under `<directory>/tensorboard`."""

    def __init__(self, directory: Path, *, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        subject = Subject.of(directory)
        self._writer: Any = SummaryWriter(str(directory / "tensorboard"), purge_step=start_step + 1)
        about = {"group": subject.group, "job_type": subject.job_type, "tags": ", ".join(subject.tags)}
        self._writer.add_text("config", _table([*about.items(), *subject.config.items()], ("name", "value")))

    def log(self, values: Mapping[str, float | int]) -> None:
        """Add every number but the step as a scalar."""
        for name, value in placed(values).items():
            self._writer.add_scalar(name, value, int(values["step"]))

    def images(self, name: str, images: Tensor, step: int) -> None:
        """Add images as one grid."""
        self._writer.add_images(name, images, step)

    def result(self, metrics: Numbers, records: Rows) -> None:
        """Add metrics as scalars, and the first records as a table."""
        for name, value in metrics.items():
            if value is not None:
                self._writer.add_scalar(f"eval/{name}", value, 0)
        rows = [list(record.values()) for record in records[:NUM_ROWS]]
        self._writer.add_text("records", _table(rows, list(records[0]) if records else ()))

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()


def _table(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> str:
    """Write a table in Markdown, which TensorBoard shows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


class Wandb:
    """One W&B run per stage, named by its directory, so that a resumed stage continues the same run."""

    def __init__(self, directory: Path, *, project: str) -> None:
        import wandb

        subject = Subject.of(directory)
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=project,
            id=subject.name,
            name=subject.name,
            dir=str(directory),
            resume="allow",
            config=subject.config,
            group=subject.group,
            job_type=subject.job_type,
            tags=[tag[:64] for tag in subject.tags],  # W&B takes no longer ones
        )

    def log(self, values: Mapping[str, float | int]) -> None:
        """Send the numbers of one step."""
        self._run.log(placed(values), step=int(values["step"]))

    def images(self, name: str, images: Tensor, step: int) -> None:
        """Send images."""
        pixels = images.permute(0, 2, 3, 1).numpy()
        self._run.log({name: [self._wandb.Image(one) for one in pixels]}, step=step)

    def result(self, metrics: Numbers, records: Rows) -> None:
        """Put metrics into the run's summary, and the first records into a table."""
        self._run.summary.update({f"eval/{name}": value for name, value in metrics.items()})
        columns = list(records[0]) if records else []
        rows = [[record[name] for name in columns] for record in records[:NUM_ROWS]]
        self._run.log({"records": self._wandb.Table(columns=columns, data=rows)})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def open_boards(directory: Path, runtime: RuntimeConfig, *, start_step: int = 0) -> list[Board]:
    """Open the boards that `runtime.loggers` names for a stage that goes on after `start_step`."""
    boards: list[Board] = []
    if "tensorboard" in runtime.loggers:
        boards.append(TensorBoard(directory, start_step=start_step))
    if "wandb" in runtime.loggers:
        boards.append(Wandb(directory, project=runtime.wandb_project))
    return boards
