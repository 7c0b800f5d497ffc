"""What a command line can choose from, known without Hydra: `--help` is printed before Hydra is imported."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data import catalogue

# Groups inside a group that choose a part of it, not another of it: finetune.schedule is finetune/schedule.
PARTS = ("schedule", "eps_schedule", "weight_perturbation", "weight_average", "mode")


def conf_directory() -> Path:
    """Return the shipped configs: inside the installed package, else the checkout's."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def data_sets(group: str) -> list[str]:
    """Return the sets of the catalogue that are choices of a config group: `source`, or `dataset`."""
    if group not in ("source", "dataset"):
        return []
    return [name for name, entry in catalogue.entries().items() if group == "source" or entry.test != 0]
