"""What a user hears of jobs that a scheduler runs: their ids, their logs, and why one left no result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robust_transfer.core.errors import ConfigError, EvaluationError, UserError

POLL_SECONDS = 1.0


@contextmanager
def announced_jobs(folder: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Say the id and the log folder of every job that submitit submits meanwhile.

    Parameters
    ----------
    folder : submitit's folder, with %j in place of the job's id; None where another launcher runs
    """
    if folder is None or "%j" not in folder:
        yield
        return
    root = Path(folder).parent
    before = _folders(root)
    seen = set(before)
    ended = threading.Event()

    def watch() -> None:
        over = False
        while not over:
            over = ended.wait(POLL_SECONDS)
            for path in sorted(_folders(root) - seen):
                seen.add(path)
                say(f"submitted as job {path.name}: log in {path}/")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        jobs = " ".join(sorted(path.name for path in seen - before))
        say(f"job {jobs} goes on without this command (scancel ends it); the same command again waits for it")
        raise
    finally:
        ended.set()
        watcher.join()


def _folders(root: Path) -> set[Path]:
    # An array has a folder of its own beside those of its jobs; only a job's holds what it will run.
    return {path.parent for path in root.glob("*/*_submitted.pkl")}


def launcher_error(error: RuntimeError, launcher: str | None) -> UserError:
    """Tell a job that ended without a result from a launcher that cannot start one."""
    text = " ".join(str(error).split())
    if "UncompletedJobError" in {kind.__name__ for kind in type(error).__mro__}:
        return EvaluationError(
            f"a job of the sweep ended without a result ({text[:300]})",
            "its log says why; the same command again submits what is missing",
        )
    return ConfigError(f"hydra/launcher={launcher} cannot start jobs here ({text[:300]})", _fix(text))


def _fix(text: str) -> str:
    if "generic resource" in text:  # Slurm's words for GPUs that the cluster does not have
        return "no GPUs there: hydra.launcher.gpus_per_node=null runtime.device=cpu"
    return "the launcher's own settings: --cfg hydra"
