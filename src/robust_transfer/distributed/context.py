"""A process among all of a run: what they do together, and the group that they join for it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robust_transfer.distributed.collectives import gather, reduced
from robust_transfer.distributed.environment import adopt_slurm

BACKENDS = {"cuda": "nccl", "xpu": "xccl"}  # of collectives between accelerators
LONGEST_WAIT = timedelta(hours=12)  # for what one process does alone, such as decoding a data set once


@dataclass(frozen=True)
class Context:
    """A process among all of a run; where it is the only one, every method is the identity."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean over processes, without gradient."""
        return reduced(tensor) / self.world_size if self.world_size > 1 else tensor

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over processes, without gradient."""
        return reduced(tensor) if self.world_size > 1 else tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Join the tensors of all processes along the first axis, in order of rank, with gradient."""
        return gather(tensor)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; needs no work of the device."""
        return bool(reduced(torch.tensor(int(flag)))) if self.world_size > 1 else flag

    def broadcast(self, value: Any) -> Any:
        """Return process 0's picklable value in every process."""
        if self.world_size == 1:
            return value
        box = [value]
        td.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def all_values(self, value: Any) -> list[Any]:
        """Return the picklable values of all processes, in order of rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        td.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process BatchNorm's running statistics of process 0."""
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        buffers = [b for norm in norms for b in norm.buffers(recurse=False) if b.is_floating_point()]
        if self.world_size == 1 or not buffers:
            return
        together = torch.cat([buffer.flatten() for buffer in buffers])  # one message, not one per layer
        td.broadcast(together, src=0)
        for buffer, part in zip(buffers, together.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return `model` with gradients averaged over processes; buffers stay each process's own."""
        if self.world_size == 1:
            return model
        devices = None if self.device.type == "cpu" else [self.device]
        known = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {buffers: False, "gradient_as_bucket_view": True}
        return DistributedDataParallel(model, device_ids=devices, **options)


def single(device: torch.device | str) -> Context:
    """Return the context of a run in this process alone."""
    return Context(0, 1, torch.device(device))


_joined: Context | None = None


@contextmanager
def join(device_kind: str) -> Iterator[Context]:
    """Be one of the processes that torchrun, Slurm or `launch` has started; leave the group at the end.

    Entered again it yields the same context: enter it once, around all that the processes do together.
    """
    global _joined
    if _joined is not None:
        yield _joined
        return
    adopt_slurm()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device_kind != "cpu":
        count = torch.get_device_module(device_kind).device_count()
        device = torch.device(device_kind, local_rank % max(1, count))
        torch.accelerator.set_device_index(device.index)
        # Gloo beside NCCL: flags and Python objects then pass without waiting for the GPU.
        backends = f"cpu:gloo,{device_kind}:{BACKENDS[device_kind]}"
        td.init_process_group(backends, device_id=device, timeout=LONGEST_WAIT)
    else:
        device = torch.device("cpu")
        td.init_process_group("gloo", timeout=LONGEST_WAIT)
    _joined = Context(td.get_rank(), td.get_world_size(), device)
    together = True
    try:
        yield _joined
    except (Exception, KeyboardInterrupt):
        # The others may stand in a collective on the GPU: to leave the group would wait for them.
        together = device_kind == "cpu"
        raise
    finally:
        _joined = None
        if together:
            td.destroy_process_group()


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside `Context.wrap`."""
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextmanager
def accumulating(model: nn.Module) -> Iterator[None]:
    """Leave out the averaging of gradients: the next backward pass outside of this block does it for all."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
    else:
        yield
