"""Run a function on several devices: here, in new worker processes, or among those of torchrun or Slurm."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from robust_transfer.core.errors import Interrupted, UserError
from robust_transfer.core.logging import logger, messages_on_stderr, shows_messages, silenced
from robust_transfer.core.signals import call_former_handler
from robust_transfer.distributed.context import join, single
from robust_transfer.distributed.devices import choose_devices, choose_kind, usable_cores
from robust_transfer.distributed.environment import started_by_launcher

# Signals that are handed on to the workers, which save; a platform need not know all of them.
NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
HANDLED = tuple(signal.Signals[name] for name in NAMES if name in signal.Signals.__members__)
REPEATING = ("torch.distributed.elastic", "torch.multiprocessing")  # log what we say in one line
POLL_SECONDS, GRACE_SECONDS = 0.5, 3.0  # after another process's failure, before this one is ended
SHUTDOWN_SECONDS = 300  # that a stopped worker has for its last step and its checkpoint


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
    Interrupted : a signal stopped the workers, which have saved
    """
    kind = choose_kind(device_kind)
    number = choose_devices(devices, batch_size=batch_size, device_kind=kind)
    if started_by_launcher():
        with join(kind) as context:
            return function(*args, context)
    if number == 1:
        return function(*args, single(kind))
    return _launch_workers(function, args, number, kind)


def _launch_workers(function: Callable[..., Any], args: Sequence[Any], devices: int, device_kind: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="rt-workers-") as folder:
        try:
            with _kept_handlers(), silenced(*REPEATING):
                results = elastic_launch(_launch_config(devices), _worker)(
                    function, args, device_kind, folder, shows_messages()
                )
        except ChildFailedError as failed:
            raise _root_cause(Path(folder), failed, devices) from None
        except SignalException as stopped:
            call_former_handler(stopped.sigval)
            raise _stopped(Path(folder), stopped.sigval) from None
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


def _worker(
    function: Callable[..., Any], args: Sequence[Any], device_kind: str, folder: str, messages: bool
) -> Any:
    """Run in a new process; whatever ends it is left in a file, because only exit codes reach the parent."""
    path = Path(folder) / os.environ["RANK"]
    path.with_suffix(".pid").write_text(str(os.getpid()))
    threading.Thread(target=_follow, args=(path,), daemon=True).start()
    if device_kind == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // int(os.environ["WORLD_SIZE"])))
    try:
        with messages_on_stderr() if messages else nullcontext(), join(device_kind) as context:
            try:
                result = function(*args, context)
                path.with_suffix(".ended").touch()
                return result
            except BaseException as error:
                # Before the group is left: that makes the other processes fail, and the first word counts.
                _leave_word(error, path)
                raise
    except SystemExit as error:
        _leave_word(error, path)
        sys.exit(error.code)
    except BaseException as error:
        _leave_word(error, path)
        sys.stderr.flush()
        os._exit(1)  # an orderly end would wait for what the GPU was asked to do together with the others


def _follow(path: Path) -> None:
    """End this process soon after another one has failed, or was killed.

    It may stand in a collective on the GPU that the other one will never join, where no signal reaches it.
    """
    while not _others_failed(path):
        time.sleep(POLL_SECONDS)
    time.sleep(GRACE_SECONDS)
    path.with_suffix(".followed").touch()
    os._exit(1)


def _others_failed(path: Path) -> bool:
    for word in path.parent.glob("*[0-9]"):
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            # Those that a signal stopped have saved, and so will this one.
            if word != path and not isinstance(pickle.loads(word.read_bytes())[1], SystemExit):
                return True
    return any(
        not _runs(int(other.read_text() or os.getpid()))
        and not other.with_suffix("").exists()
        and not other.with_suffix(".ended").exists()
        for other in path.parent.glob("*.pid")
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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
    followed = {int(path.stem) for path in folder.glob("*.followed")}
    silent = sorted(set(range(devices)) - set(words) - followed)
    rank, first = min(words.items(), key=lambda item: item[1][0], default=(None, None))
    # A user's error stands for itself: the others may have been stopped before they could speak.
    if first is not None and first[1] is not None:
        logger.info("worker %d of %d failed", rank, devices)
        return first[1]
    if silent:
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        code = codes.get(silent[0], -9)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return UserError(
            f"worker {silent[0]} of {devices} {how} (often: no memory left on this machine)",
            "the same command goes on from the last checkpoint",
        )
    assert first is not None
    return RuntimeError(f"worker {rank} of {devices} failed:\n{first[2]}")


def _stopped(folder: Path, number: int) -> BaseException:
    exits = [kept for _, kept, _ in _words(folder).values() if isinstance(kept, SystemExit)]
    return Interrupted(number, next((e.kept for e in exits if isinstance(e, Interrupted)), "what is kept"))
