"""Configuration of the machine and of limits on cost."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


@dataclass
class BudgetConfig:
    """Limits on cost; null: no limit. Paths of code, model and transforms stay the full run's."""

    name: str = option("full, short or smoke")
    smoke: bool = option("generated images, records marked and kept out of every table")
    max_steps: int | None = option("limit on optimiser steps of a stage", low=1)
    batch_size: int | None = option("limit on images per optimiser step", low=2)
    num_images: int | None = option("generated images per split of a smoke run", low=1)
    subset: int | None = option("limit on test images", low=1)
    attack_steps: int | None = option("limit on gradient steps of attack evaluators", low=1)
    n: int | None = option("limit on noise samples of certify", low=100)


@dataclass
class RuntimeConfig:
    """How a run uses the machine; changes no result beyond rounding."""

    devices: int | str = option("number of devices, or auto", low=1, choices=("auto",), identity=False)
    device: str = option("kind of device", choices=("auto", "cpu", "cuda", "xpu", "mps"), identity=False)
    num_workers: int | str = option(
        "data loading processes per device, or auto", low=0, choices=("auto",), identity=False
    )
    compile: bool = option("torch.compile", identity=False)
    channels_last: bool = option("channels-last memory layout", identity=False)
    activation_checkpointing: bool = option("recompute activations: less memory, more time", identity=False)
    save_every_steps: int = option("optimiser steps between two checkpoints", low=1, identity=False)
    save_every_minutes: float = option("minutes between two checkpoints at most", above=0, identity=False)
    log_every_steps: int = option("optimiser steps between two lines of metrics.jsonl", low=1, identity=False)
    loggers: list[str] = option("further loggers", choices=("tensorboard", "wandb"), identity=False)
    sync_batchnorm: bool = option(
        "BatchNorm over all devices; false: their number enters the key", identity=False
    )
    prefetch_factor: int = option(
        "batches that each loading process has ready ahead", low=1, identity=False, default=2
    )
    on_nonfinite: str = option(
        "on a loss or weights that are not finite: stop, or skip: go on from the last checkpoint, past the "
        "batch (enters the key; every step waits for the device)",
        choices=("stop", "skip"),
        identity=False,
        default="stop",
    )
    profile: bool = option("trace.json of a few steps, for a browser", identity=False, default=False)

    wandb_project: str = option("project of W&B runs", identity=False, default="robust-transfer")

    def check(self, path: str) -> None:
        """Refuse switches that exclude each other, and a number of devices that a key needs and lacks."""
        if self.compile and self.activation_checkpointing:
            raise ConfigError(
                f"{path}.compile=true with {path}.activation_checkpointing=true (torch compiles no block "
                "that is recomputed with other statistics)",
                f"{path}.compile=false",
            )
        if not self.sync_batchnorm and self.devices == "auto":
            raise ConfigError(
                f"{path}.sync_batchnorm=false needs a number of devices (they enter the key)",
                f"{path}.devices=N",
            )
