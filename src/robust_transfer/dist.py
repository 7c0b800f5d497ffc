"""The one door to several processes (torch.distributed): launch or join, mean, gather, barrier."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from robust_transfer.errors import EXIT_RESUMABLE, ConfigError, UserError

MIN_IMAGES_PER_DEVICE = 16
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
SHUTDOWN_SECONDS = 300  # that a stopped worker has for its last step and its checkpoint

# ---------------------------------------------------------------- within a process


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
        return _reduced(tensor) / self.world_size if self.world_size > 1 else tensor

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over processes, without gradient."""
        return _reduced(tensor) if self.world_size > 1 else tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Join the tensors of all processes along the first axis, in order of rank, with gradient."""
        return gather(tensor)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; needs no work of the device."""
        return bool(_reduced(torch.tensor(int(flag)))) if self.world_size > 1 else flag

    def broadcast(self, value: Any) -> Any:
        """Return process 0's picklable value in every process."""
        if self.world_size == 1:
            return value
        box = [value]
        td.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    def wrap(self, model: nn.Module, *, sync_buffers: bool = False) -> nn.Module:
        """Return `model` with gradients averaged over processes; `sync_buffers` sends out process 0's."""
        if self.world_size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        known = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {buffers: sync_buffers, "gradient_as_bucket_view": True}
        return DistributedDataParallel(model, device_ids=devices, **options)


def single(device: torch.device | str) -> Context:
    """Return the context of a run in this process alone."""
    return Context(0, 1, torch.device(device))


def device_name(device: torch.device) -> str:
    """Name the kind of device: results of two kinds are not mixed within a stage."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def rank() -> int:
    """Return this process's number, 0 where there is only one."""
    return td.get_rank() if td.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return td.get_world_size() if td.is_initialized() else 1


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


def gather(tensor: Tensor) -> Tensor:
    """Join the tensors of all processes along the first axis; gradients flow back to each one's own."""
    return _Gather.apply(tensor) if world_size() > 1 else tensor


def all_sum(tensor: Tensor) -> Tensor:
    """Sum over processes; the gradient of the sum is summed too."""
    return _AllSum.apply(tensor) if world_size() > 1 else tensor


def _reduced(tensor: Tensor) -> Tensor:
    total = tensor.detach().clone()
    td.all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        td.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process has a loss of its own that depends on this process's part.
        return _reduced(gradient.contiguous()).chunk(world_size())[rank()]


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _reduced(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient)


# ---------------------------------------------------------------- how many, and of what kind


def choose_kind(requested: str) -> str:
    """Turn runtime.device (auto, cpu, cuda) into cpu or cuda, or raise ConfigError."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise ConfigError("runtime.device=cuda, but torch sees no CUDA device", "runtime.device=cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if requested == "auto" else requested


def choose_devices(requested: int | str, *, batch_size: int | None, device_kind: str) -> int:
    """Turn runtime.devices into a number that divides the batch.

    `auto` takes the largest number of visible devices that divides `batch_size` and leaves at least 16 images
    each; on the CPU that is one process. Where torchrun or Slurm has started the run, their number stands.

    Parameters
    ----------
    batch_size : images of one optimiser step; None where the work has no common batch (evaluations)
    device_kind : cpu or cuda

    Raises
    ------
    ConfigError : the given number does not divide the batch, or there are fewer devices
    """
    visible = torch.cuda.device_count() if device_kind == "cuda" else 1
    if started_outside():
        requested = int(os.environ["WORLD_SIZE"])
    elif requested == "auto":
        return max(n for n in range(1, visible + 1) if n == 1 or _fits(n, batch_size))
    elif device_kind == "cuda" and int(requested) > visible:
        raise ConfigError(f"runtime.devices={requested}, but torch sees {visible} CUDA devices")
    number = int(requested)
    if batch_size is not None and batch_size % number:
        dividing = [str(n) for n in range(1, number) if batch_size % n == 0]
        raise ConfigError(
            f"a batch of {batch_size} images is not divided by {number} devices",
            f"choose runtime.devices from: {', '.join(dividing)}",
        )
    return number


def _fits(number: int, batch_size: int | None) -> bool:
    if batch_size is None:
        return True
    return batch_size % number == 0 and batch_size // number >= MIN_IMAGES_PER_DEVICE


# ---------------------------------------------------------------- launch or join


def started_outside() -> bool:
    """Tell whether torchrun, or srun with several tasks, has started this process as one of many."""
    if "WORLD_SIZE" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        _adopt_slurm()
    return "WORLD_SIZE" in os.environ


def _adopt_slurm() -> None:
    """Translate a Slurm step's variables into the ones that torchrun sets."""
    environ = os.environ
    if "MASTER_ADDR" not in environ:
        nodes = environ["SLURM_STEP_NODELIST"]
        names = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
        )
        environ["MASTER_ADDR"] = names.stdout.split()[0]
    # Jobs that share a node need ports of their own, and all tasks of one job the same.
    environ.setdefault("MASTER_PORT", str(20000 + int(environ["SLURM_JOB_ID"]) % 20000))
    environ["RANK"] = environ["SLURM_PROCID"]
    environ["LOCAL_RANK"] = environ["SLURM_LOCALID"]
    environ["WORLD_SIZE"] = environ["SLURM_STEP_NUM_TASKS"]


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
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device_kind == "cuda":
        device = torch.device("cuda", local_rank % max(1, torch.cuda.device_count()))
        torch.cuda.set_device(device)
        # Gloo beside NCCL: flags and Python objects then pass without waiting for the GPU.
        td.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    else:
        device = torch.device("cpu")
        td.init_process_group("gloo")
    _joined = Context(td.get_rank(), td.get_world_size(), device)
    try:
        yield _joined
    finally:
        _joined = None
        td.destroy_process_group()


def launch(
    function: Callable[..., Any],
    args: Sequence[Any],
    *,
    devices: int | str,
    device_kind: str,
    batch_size: int | None = None,
) -> Any:
    """Run `function(*args, context)` on several devices and return what process 0 returned.

    One device: in this process. More: in new processes, which end together and get `function` and `args`
    pickled. Under torchrun or Slurm: in this process, as one of theirs.

    Parameters
    ----------
    devices, device_kind : as in runtime.devices and runtime.device, `auto` included
    batch_size : images of one optimiser step, which the devices must divide

    Raises
    ------
    UserError : what a worker raised, or that one was killed
    SystemExit : code 75 where workers stopped on SIGTERM and can be resumed
    """
    kind = choose_kind(device_kind)
    number = choose_devices(devices, batch_size=batch_size, device_kind=kind)
    if started_outside():
        with join(kind) as context:
            return function(*args, context)
    if number == 1:
        return function(*args, single(kind))
    return _launch_workers(function, args, number, kind)


def _launch_workers(function: Callable[..., Any], args: Sequence[Any], devices: int, device_kind: str) -> Any:
    for name in ("torch.distributed.elastic", "torch.multiprocessing"):
        # Their log repeats what we say in one line.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="rt-workers-") as folder:
        try:
            with _kept_handlers():
                results = elastic_launch(_launch_config(devices), _worker)(
                    function, args, device_kind, folder
                )
        except ChildFailedError as failed:
            raise _root_cause(Path(folder), failed, devices) from None
        except SignalException as stopped:
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise _stopped(Path(folder)) from None
    return results[0]


@contextmanager
def _kept_handlers() -> Iterator[None]:
    """Give the signal handlers back: the elastic launcher leaves its own in this process."""
    former = {number: signal.getsignal(number) for number in HANDLED}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in former.items():
                signal.signal(number, handler)


def _launch_config(devices: int) -> LaunchConfig:
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    patience: dict[str, Any] = {"shutdown_timeout": SHUTDOWN_SECONDS} if "shutdown_timeout" in known else {}
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        # A restart inside the job was seen to hang on gloo; the same command resumes from the checkpoint.
        max_restarts=0,
        signals_to_handle=",".join(number.name for number in HANDLED),
        **patience,
    )


def _worker(function: Callable[..., Any], args: Sequence[Any], device_kind: str, folder: str) -> Any:
    """Run in a new process; whatever ends it is left in a file, because only exit codes reach the parent."""
    path = Path(folder) / os.environ["RANK"]
    if device_kind == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["WORLD_SIZE"])))
    try:
        with join(device_kind) as context:
            try:
                return function(*args, context)
            except BaseException as error:
                # Before the group is left: that makes the other processes fail, and the first word counts.
                _leave_word(error, path)
                raise
    except BaseException as error:
        _leave_word(error, path)
        sys.exit(error.code if isinstance(error, SystemExit) else 1)


def _leave_word(error: BaseException, path: Path) -> None:
    if path.exists():
        return
    text = "".join(traceback.format_exception(error))
    kept = error if isinstance(error, UserError | SystemExit) else None
    with suppress(OSError):
        path.write_bytes(pickle.dumps((time.time(), kept, text)))


def _words(folder: Path) -> dict[int, tuple[float, BaseException | None, str]]:
    return {
        int(path.name): pickle.loads(path.read_bytes()) for path in folder.iterdir() if path.name.isdigit()
    }


def _root_cause(folder: Path, failed: ChildFailedError, devices: int) -> BaseException:
    """Find what brought the run down: the first error, or the worker that died without a word."""
    words = _words(folder)
    silent = sorted(set(range(devices)) - set(words))
    first = min(words.values(), key=lambda word: word[0], default=None)
    # A user's error stands for itself: the others may have been stopped before they could speak.
    if first is not None and first[1] is not None:
        return first[1]
    if silent:
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        code = codes.get(silent[0], -signal.SIGKILL)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return UserError(
            f"worker {silent[0]} of {devices} {how} (often: no memory left on this machine)",
            "the same command goes on from the last checkpoint",
        )
    assert first is not None
    return RuntimeError(f"a worker failed:\n{first[2]}")


def _stopped(folder: Path) -> BaseException:
    exits = [kept for _, kept, _ in _words(folder).values() if isinstance(kept, SystemExit)]
    return exits[0] if exits else SystemExit(EXIT_RESUMABLE)
