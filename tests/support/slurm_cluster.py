"""A Slurm cluster of one node on loopback, with all its state in one folder: munge, controller, node daemon.

Needs Debian's `slurm-wlm` and `munge`, and root. Accounting would need a database, so a stand-in for `sacct`,
which submitit polls, answers from the queue.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
PATIENCE_SECONDS = 60

CONFIG = """
ClusterName=drill
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=30
MinJobAge=3600
JobRequeue=1
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=drill Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""
# Debian's 22.05 finds no plugin of the name "disabled"; this one is loaded and told to do nothing.
CGROUPS = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n"
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
exec squeue --noheader --states=all --array --format='%i|%T|%N'
"""


def why_not() -> str | None:
    """Say what keeps a cluster from being started here, or None."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"Slurm is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "a Slurm of one's own needs root"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster and yield the environment in which its commands work; end its daemons afterwards."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    _write(folder / "munge.key", secrets.token_bytes(1024), mode=0o400)
    controller, node = _free_ports()
    host = socket.gethostname().split(".")[0]
    config = CONFIG.format(host=host, folder=folder, port=controller, node_port=node)
    _write(folder / "slurm.conf", config.encode())
    _write(folder / "cgroup.conf", CGROUPS.encode())
    _write(folder / "bin" / "sacct", SACCT.encode(), mode=0o755)
    path = f"{folder}/bin:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    try:
        munged = [f"--{name}={folder}/munge{end}" for name, end in MUNGE_FILES.items()]
        subprocess.run(["munged", "--force", *munged], check=True, env=environment)
        subprocess.run(["slurmctld"], check=True, env=environment)
        subprocess.run(["slurmd"], check=True, env=environment)
        _wait_until_idle(folder, environment)
        yield environment
    finally:
        for name in ("slurmd", "slurmctld", "munge"):
            _end(folder / f"{name}.pid")


MUNGE_FILES = {
    "key-file": ".key",
    "socket": ".socket",
    "pid-file": ".pid",
    "log-file": ".log",
    "seed-file": ".seed",
}


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _wait_until_idle(folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        asked = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    log = (folder / "slurmd.log").read_text(errors="replace") if (folder / "slurmd.log").exists() else ""
    raise RuntimeError(f"the node did not come up in {PATIENCE_SECONDS} s\n{log[-2000:]}")


def _end(pid_file: Path) -> None:
    """End a daemon by its pid; a node daemon waits for steps that hang, and is not waited for long."""
    with suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(20):
            time.sleep(0.25)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
