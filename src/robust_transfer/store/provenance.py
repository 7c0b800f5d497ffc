"""What a run ran on, as env.json keeps it: commit, versions, machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Return what a run ran on: commit, versions, hardware."""
    versions: dict[str, str | None] = {}
    for package in ("robust-transfer", "torch", "torchvision", "numpy", "scipy", "hydra-core"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "commit": git_commit(),
        "versions": versions,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS") or os.cpu_count(),
    }


def _processor() -> str:
    """Return the processor's model: what it computes depends on it, down to the last bits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Return the commit of this package's checkout, `-dirty` if it was changed; None when installed."""
    here = Path(__file__).resolve().parent
    try:
        result = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None


def commit_of(stage: Path) -> str | None:
    """Return the commit that env.json of a stage's directory names; None: it names none, or is not there."""
    try:
        commit = json.loads((stage / "env.json").read_text(encoding="utf-8"))["commit"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return str(commit) if commit else None
