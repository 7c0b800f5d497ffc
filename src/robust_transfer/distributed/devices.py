"""How many devices a run takes, and of what kind."""

from __future__ import annotations

import os

import torch

from robust_transfer.core.errors import ConfigError
from robust_transfer.distributed.division import check_division
from robust_transfer.distributed.environment import num_processes, started_by_launcher

ACCELERATORS = ("cuda", "xpu")  # in the order in which `auto` looks for them
MIN_IMAGES_PER_DEVICE = 16
MAX_WORKERS = 16  # of a device; more only take memory


def choose_kind(requested: str) -> str:
    """Turn runtime.device into cpu or a kind of accelerator, or raise ConfigError."""
    if requested == "mps":
        raise ConfigError(
            "runtime.device=mps: Apple's GPUs have no float64, in which distances and metrics are computed",
            "runtime.device=cpu",
        )
    there = [kind for kind in ACCELERATORS if torch.get_device_module(kind).is_available()]
    if requested in ACCELERATORS and requested not in there:
        raise ConfigError(
            f"runtime.device={requested}, but torch sees no {requested.upper()} device", "runtime.device=cpu"
        )
    return (there or ["cpu"])[0] if requested == "auto" else requested


def check_precision(precision: str, *, device_kind: str, group: str) -> None:
    """Refuse an arithmetic that a kind of device does not have."""
    if precision == "tf32" and device_kind not in ("cuda", "cpu"):
        raise ConfigError(
            f"{group}.precision=tf32 on {device_kind} (it is of NVIDIA's GPUs)", f"{group}.precision=bf16"
        )


def choose_devices(requested: int | str, *, batch_size: int | None, device_kind: str) -> int:
    """Turn runtime.devices into a number that divides the batch.

    `auto` takes the largest number of visible devices that divides `batch_size` and leaves at least 16 images
    each; on the CPU that is one process. Where torchrun or Slurm has started the run, their number stands.

    Parameters
    ----------
    batch_size : images of one optimiser step; None where the work has no common batch (evaluations)
    device_kind : cpu, cuda or xpu

    Raises
    ------
    ConfigError : the given number does not divide the batch, or there are fewer devices
    """
    visible = 1 if device_kind == "cpu" else torch.get_device_module(device_kind).device_count()
    if started_by_launcher():
        requested = num_processes()
    elif requested == "auto":
        return max(n for n in range(1, visible + 1) if n == 1 or _fits(n, batch_size))
    elif device_kind != "cpu" and int(requested) > visible:
        raise ConfigError(
            f"runtime.devices={requested}, but torch sees {visible} {device_kind.upper()} devices"
        )
    number = int(requested)
    if batch_size is not None:
        check_division(batch_size, number)
    return number


def _fits(number: int, batch_size: int | None) -> bool:
    if batch_size is None:
        return True
    return batch_size % number == 0 and batch_size // number >= MIN_IMAGES_PER_DEVICE


def choose_workers(requested: int | str, *, device: torch.device) -> int:
    """Turn runtime.num_workers into the number of processes that load images for one device.

    `auto` shares the cores that this process may use among the devices of this machine, one core left to each
    device's own process; on the CPU, which the training itself fills, there are none.
    """
    if requested != "auto":
        return int(requested)
    if device.type == "cpu":
        return 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MAX_WORKERS, usable_cores() // processes - 1))


def usable_cores() -> int:
    """Return how many cores this process may use, which a scheduler may have limited."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every platform
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """Name the kind of device: results of two kinds are not mixed within a stage."""
    if device.type == "cpu":
        return device.type
    return str(torch.get_device_module(device).get_device_name(device))
