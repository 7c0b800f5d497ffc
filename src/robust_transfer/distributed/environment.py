"""What torchrun or srun says in the environment of the processes that it started; imports no torch."""

from __future__ import annotations

import os
import subprocess


def num_processes() -> int:
    """Return how many processes torchrun or srun started this one among; 1 where neither did."""
    return int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_STEP_NUM_TASKS", "1")))


def started_by_launcher() -> bool:
    """Tell whether torchrun, or srun with several tasks, started this process as one of many."""
    return "WORLD_SIZE" in os.environ or num_processes() > 1


def is_first_process() -> bool:
    """Tell whether this process speaks for all that torchrun or srun started."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0 or not started_by_launcher()


def adopt_slurm() -> None:
    """Translate a Slurm step's variables into the ones that torchrun sets; where those are set, nothing."""
    environ = os.environ
    if "WORLD_SIZE" in environ or not started_by_launcher():
        return
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
