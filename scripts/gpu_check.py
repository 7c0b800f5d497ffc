"""Run the GPU tests and the benchmarks on this machine and write results/benchmarks/<gpu>.json.

    python scripts/gpu_check.py
    python scripts/gpu_check.py --batch 256 --robustness PATH/TO/CHECKOUT --out results/benchmarks

It exits 1 where a test fails. What it wrote is worth committing: the README claims nothing that no such file
shows. With two GPUs it also shows NCCL: gradients, negatives and BatchNorm over both.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="images per training step")
    parser.add_argument("--robustness", type=Path, help="checkout of MadryLab/robustness to time too")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_check: torch sees no CUDA device; nothing was run", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name()
    tests = run_tests()
    report = {
        "gpu": name,
        "num_gpus": torch.cuda.device_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit(),
        "tests": tests,
        "training": [benchmark(options, compile=compiled) for compiled in (False, True)],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")
    path.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0 if tests["exit_code"] == 0 else 1


def run_tests() -> dict[str, Any]:
    """Run pytest over the marker gpu and return its counts."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout.splitlines()[-1])
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
