"""Commands in processes of their own, for the drills: a server that has imported torch forks each of them.

A drill starts dozens of processes; four seconds of imports each would be most of its time, and most kills
would meet the interpreter instead of a stage.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from commands import check_message
from patience import PATIENCE_SECONDS
from robust_transfer.store import directories
from robust_transfer.store.directories import StageDirectory
from tiny_runs import SMALL, results

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "torch",
        "sklearn.datasets",
        "mlxtend.data",
        "robust_transfer.cli.train",
        "robust_transfer.cli.plans",
        "robust_transfer.cli.launching",
        "robust_transfer.training.job",
        "robust_transfer.evaluation.job",
    ]
)

# Long enough to be hit: a second or two a stage, a checkpoint every step.
WORDS = (
    *SMALL,
    "pretrain.batch_size=10",
    "finetune.batch_size=8",
    "certify.subset=4",
    "certify.sigma=0.1",
    "certify.allow_sigma_mismatch=true",
    "autopgd.batch_size=8",
    "autopgd.eps=0.1",
    "autopgd.num_steps=10",
    "runtime.devices=1",
    "runtime.num_workers=0",
    "runtime.save_every_steps=1",
    "runtime.log_every_steps=1",
)
# One shape: an image is then attacked to the same bits whatever was left when a run was ended.
ONE_SHAPE = "autopgd.shapes=one"
SHORT = ("pretrain.max_steps=3", "finetune.max_steps=3", "certify.n=300", "autopgd.subset=8", ONE_SHAPE)


def words(pretrain: str, finetune: str, root: Path, *more: str) -> list[str]:
    """Return the words after rt-train."""
    return [f"pretrain={pretrain}", f"finetune={finetune}", *WORDS, f"store={root}", *more]


class Command:
    """One run of rt-train or rt-eval in a process of its own."""

    def __init__(
        self, arguments: list[str], log: Path, *, program: str = "train", file_size: int | None = None
    ):
        self.log = log
        self.process = SERVER.Process(target=_run, args=(program, arguments, str(log), file_size))
        self.process.start()

    def wait(self) -> int:
        """Return the exit code."""
        self.process.join(PATIENCE_SECONDS)
        assert self.process.exitcode is not None, f"still running: {self.said()}"
        return self.process.exitcode

    def said(self) -> str:
        """Return what was written to stdout and stderr so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def until(self, happened: Callable[[], bool]) -> bool:
        """Wait until something happened; False where the process ended first."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            if not self.process.is_alive():
                return happened()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.002)
        return True

    def works_at(self, found: StageDirectory | None) -> bool:
        """Whether this process is the one that began or resumed a stage."""
        return found is not None and found.status().pid == self.process.pid


def _run(program: str, arguments: list[str], log: str, file_size: int | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    module = {"train": "train", "eval": "evaluate"}[program]
    sys.exit(importlib.import_module(f"robust_transfer.cli.{module}").main(arguments))


def finished(arguments: list[str], log: Path) -> str:
    """Run to the end, which must be a good one; return what was said."""
    command = Command(arguments, log)
    code = command.wait()
    assert code == 0, command.said()
    assert "Traceback" not in command.said()
    return command.said()


def undisturbed(command: Callable[[Path], list[str]], folder: Path) -> dict[str, bytes]:
    """Return the results of a command in a store of its own, where nothing befalls it."""
    finished(command(folder / "whole"), folder / "whole.log")
    return results(folder / "whole")


def refusal(run: Command) -> list[str]:
    """Wait for a user's error and return its lines."""
    assert run.wait() == 2, run.said()
    lines = [line for line in run.said().splitlines() if not line.startswith("[")]
    return check_message("rt-train", "\n".join(lines))


def stages(root: Path) -> list[StageDirectory]:
    """Return all stages of a store."""
    return list(directories.scan(root))


def stage(root: Path, kind: str, name: str = "") -> StageDirectory | None:
    """Return the one stage of a kind whose directory's name begins so, or None where there is none yet."""
    found = [s for s in stages(root) if s.kind == kind and s.path.name.startswith(name)]
    assert len(found) < 2, found
    return found[0] if found else None


def lines(found: StageDirectory) -> int:
    """Count what a stage has journalled or logged."""
    path = found.path / ("journal.0.csv" if found.kind == "eval" else "metrics.jsonl")
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
