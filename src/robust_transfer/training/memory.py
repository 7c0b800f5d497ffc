"""The most memory that a stage took: a device's, or on the CPU this process's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

PROCESS = Path("/proc/self")  # of Linux; elsewhere a process's peak cannot be begun anew
RESET = "5"  # proc(5), clear_refs: the peak begins at what is held now


def reset_peak(device: torch.device) -> None:
    """Begin to measure: several stages run in one process, and each is to report its own peak."""
    if device.type != "cpu":
        torch.accelerator.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text(RESET)


def peak_bytes(device: torch.device) -> int | None:
    """Return the most bytes held since `reset_peak`; None where this system does not say."""
    if device.type != "cpu":
        return int(torch.accelerator.max_memory_allocated(device))
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else None


# How torch and the libraries under it say that there is no memory, apart from torch.OutOfMemoryError.
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
)


def no_memory(error: BaseException) -> bool:
    """Tell whether an error says that a device, or this machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in NO_MEMORY)


def no_shared_memory(error: BaseException) -> bool:
    """Tell whether an error says that the memory is full through which loading processes hand over images."""
    return any(words in str(error) for words in ("shared memory", "Bus error"))
