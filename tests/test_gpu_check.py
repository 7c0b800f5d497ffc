"""scripts/gpu_check.py on a CPU: every check runs, and one that fails is told and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robust_transfer.cli import train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import gpu_check
    import gpu_checks

    # Imports would be most of the time; the run that is killed has a process of its own.
    monkeypatch.setattr(gpu_checks, "run", lambda command: train.main(command[3:]))
    return gpu_check


@pytest.mark.drill
def test_every_check_runs(script, tmp_path):
    assert script.main(["--device", "cpu", "--out", str(tmp_path)]) == 0
    checks = json.loads((tmp_path / "cpu.json").read_text())["checks"]
    assert set(checks) == set(script.CHECKS) and all(check["ok"] for check in checks.values())
    assert checks["kill_and_resume"]["greatest_difference"] == 0
    assert 0 < checks["kill_and_resume"]["killed_after"] < script.SMALL["steps"]
    assert checks["memory"]["steps"] == script.SMALL["memory_steps"]
    assert set(checks["loader_wait"]) == {"ok", "st", "simclr"}


def test_a_check_that_fails_is_told_and_the_others_run(script, tmp_path, monkeypatch):
    def broken(scale):
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(script.CHECKS, "attacks", broken)
    monkeypatch.setattr(script, "write_images", lambda *arguments: None)
    words = ["--device", "cpu", "--only", "attacks", "fast_inference", "--out", str(tmp_path)]
    assert script.main(words) == 1
    checks = json.loads((tmp_path / "cpu.json").read_text())["checks"]
    assert "no kernel image" in checks["attacks"]["error"] and checks["fast_inference"]["ok"]
