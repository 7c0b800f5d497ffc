"""Run the GPU tests, checks and benchmarks on this machine and write results/benchmarks/<gpu>.json.

    python scripts/gpu_check.py
    python scripts/gpu_check.py --batch 256 --robustness PATH/TO/CHECKOUT --out results/benchmarks
    python scripts/gpu_check.py --only memory scaling      beside what the file of this commit holds
    python scripts/gpu_check.py --device cpu --out OUT

It exits 1 where a test or a check fails. What it wrote is worth committing: the README claims nothing that no
such file shows. With several GPUs it also shows NCCL: gradients, negatives and BatchNorm over two, and how
training scales. On a CPU it runs the checks alone, on a tiny network: to see that the script works.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmark_data import write_images
from gpu_checks import CHECKS, Scale

ROOT = Path(__file__).resolve().parents[1]
GPU_TESTS = "tests/training/test_on_gpu.py"
SMALL = {
    "arch": "resnet18_small",
    "width": 4,
    "size": 16,
    "batch": 8,
    "images": 16,
    "steps": 20,
    "n": 200,
} | {"memory_steps": 60}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=(*CHECKS, "tests"), help="these alone")
    parser.add_argument("--batch", type=int, default=128, help="images per training step")
    parser.add_argument("--robustness", type=Path, help="checkout of MadryLab/robustness to time too")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks")
    options = parser.parse_args(argv)
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("gpu_check: torch sees no CUDA device; nothing was run (--device cpu)", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    chosen = options.only or [*CHECKS, "tests"]
    report = {
        "gpu": name,
        "num_gpus": torch.cuda.device_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "commit": commit(),
        "checks": run_checks([c for c in chosen if c in CHECKS], options.device, options.batch),
    }
    passed = all(check["ok"] for check in report["checks"].values())
    if on_gpu and "tests" in chosen:
        report["tests"] = run_tests()
        passed &= report["tests"]["exit_code"] == 0
    if on_gpu and not options.only:
        report["training"] = [benchmark(options, compile=compiled) for compiled in (False, True)]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")
    if options.only and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["commit"] == report["commit"]:
            report = before | report | {"checks": before["checks"] | report["checks"]}
    path.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0 if passed else 1


def run_checks(names: Sequence[str], device: str, batch: int) -> dict[str, Any]:
    """Run checks one after another; one that raises is reported and does not hide the rest."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        scale = Scale(device, Path(folder), batch=batch, num_devices=torch.cuda.device_count())
        if device == "cpu":
            scale = Scale(device, Path(folder), compiled=False, **SMALL)
        write_images(scale.folder / "images", scale.images)
        for name in names:
            try:
                found[name] = CHECKS[name](scale)
            except Exception as error:
                found[name] = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


def run_tests() -> dict[str, Any]:
    """Run the tests that need a GPU and return their counts."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", GPU_TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout[-200:])
    return {"exit_code": done.returncode, **{word: int(number) for number, word in counts}}


def benchmark(options: argparse.Namespace, *, compile: bool) -> dict[str, Any]:
    """Time the training steps and return the rows; a failure is reported instead of hiding the rest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, str(ROOT / "scripts" / "benchmark_training.py"), "--json", str(path)]
        command += ["--batch", str(options.batch), "--steps", "10", "--precision", "fp32", "tf32", "bf16"]
        command += ["--compile"] if compile else []
        command += ["--robustness", str(options.robustness)] if options.robustness and not compile else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(done.stdout)
        if done.returncode:
            return {"compile": compile, "error": done.stderr.strip().splitlines()[-1]}
        return json.loads(path.read_text())


def commit() -> str | None:
    """Return the checkout's commit, marked where it has changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
