"""Run the study's recipes at their true size on one GPU, and work out what Tables 2 to 5 cost on it.

    python scripts/study_scale.py --images DIR
    python scripts/study_scale.py --images DIR --batch-size simclr=256 --out results/study_scale

DIR holds real images: train/ and test/ (or val/), one folder per class. The chain is that of the tables, its
training cut to --steps: pre-training by st, at, cr, simclr; fine-tuning by at, cr, st_linear; AutoPGD;
certification. Each is an rt-train command. The AT pre-training is killed on its way (SIGKILL) and goes on
from its checkpoint. Started again, the script skips what is done (an evaluation that was killed has lost its
time: delete its directory).

A batch that does not fit is tried again with activation checkpointing, which changes no result; where that is
not enough, as with SimCLR's 4,096 images on any one GPU, name a smaller one as above.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study_scale_report import (
    ATTACK_IMAGES,
    TRUE,
    markdown,
    metrics,
    network,
    planned,
    recall,
    report_of,
    work_of,
)

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.core import files
from robust_transfer.data import open_dataset
from robust_transfer.pipeline.stage import Stage
from robust_transfer.training import checkpoints

METHODS = ("st", "at", "cr", "simclr")
KILLED = "at"


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    options.store.mkdir(parents=True, exist_ok=True)
    report = report_of(options, run_chain(options))
    folder = options.out or options.store / "report" / "study_scale"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", report["device"].lower()).strip("-")
    files.write_json(folder / f"{name}.json", report)
    files.write_text(folder / f"{name}.md", markdown(report))
    print(markdown(report))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=lambda text: Path(text).resolve(), required=True, metavar="DIR")
    parser.add_argument("--store", type=Path, default=Path("runs/study_scale"))
    parser.add_argument("--out", type=Path, help="default: STORE/report/study_scale")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1), help="that read images")
    parser.add_argument("--attack-images", type=int, default=ATTACK_IMAGES, help="right ones, at least")
    parser.add_argument("--certify-images", type=int, help="the same")
    parser.add_argument("--arch")
    parser.add_argument("--width", type=int, help="of resnet18_small")
    parser.add_argument("--size", type=int, help="of an image, in pixels")
    parser.add_argument("--steps", type=int, help="of every training stage")
    parser.add_argument("--n", type=int, help="noise samples of a certificate")
    meaning = "METHOD=N: of one pre-training; N: of all stages, less than the study's scale"
    parser.add_argument("--batch-size", nargs="+", default=[], metavar="[METHOD=]N", help=meaning)
    parser.set_defaults(**TRUE)
    options = parser.parse_args(argv)
    named = [text.rpartition("=")[::2] for text in options.batch_size]
    options.batch_size = {method or "all": int(size) for method, size in named}
    if unknown := set(options.batch_size) - {"all", *METHODS}:
        parser.error(f"--batch-size: {unknown.pop()} is none of {', '.join(METHODS)}")
    if options.steps < 8:
        parser.error("--steps: at least 8, for a checkpoint on the way and intervals to time")
    return options


# ---------------------------------------------------------------- the chain


def run_chain(options: argparse.Namespace) -> list[Stage]:
    """Bring all stages to their end and return them."""
    pretrain = {method: pretraining(options, method) for method in METHODS}
    found = [bring(options, *pretrain[method], "until=pretrain") for method in METHODS]
    target = training(options, "finetune", "dataset", options.batch_size.get("all"))
    found.append(bring(options, *pretrain["cr"], "finetune=st_linear", *target, "until=finetune"))
    attack = ("finetune=at", *target, "evaluators=[autopgd]", "autopgd.num_restarts=5")
    if options.attack_images < ATTACK_IMAGES:  # no empty places in its one batch
        attack += (f"autopgd.batch_size={min(options.attack_images, ATTACK_IMAGES // 2)}",)
    found.append(evaluate(options, "autopgd", options.attack_images, *pretrain["at"], *attack))
    certify = ("finetune=cr", *target, "evaluators=[certify]", f"certify.n={options.n}")
    found.append(evaluate(options, "certify", options.certify_images, *pretrain["cr"], *certify))
    return list({stage.key: stage for stages in found for stage in stages}.values())


def evaluate(options: argparse.Namespace, evaluator: str, wanted: int, *words: str) -> list[Stage]:
    """Evaluate more and more images until enough are right, the only ones worked on, or all were taken."""
    subset = wanted
    while True:
        stages = bring(options, *words, f"{evaluator}.subset={subset}")
        images = stages[-1].directory(options.store).summary().num_images
        if images < subset or sum(map(bool, work_of(options, stages[-1]))) >= wanted:
            return stages
        subset *= 2


def pretraining(options: argparse.Namespace, method: str) -> tuple[str, ...]:
    size = options.batch_size.get(method, options.batch_size.get("all"))
    # Of its learning rate conf/pretrain/simclr.yaml says: 0.3 batch / 256.
    rate = (f"pretrain.lr={0.3 * size / 256}",) if size and method == "simclr" else ()
    return f"pretrain={method}", *training(options, "pretrain", "source", size), *rate


def training(options: argparse.Namespace, group: str, data: str, size: int | None) -> tuple[str, ...]:
    images = f"{data}=imagefolder", f"{data}.root={options.images}"
    batch = (f"{group}.batch_size={size}",) if size else ()
    return *images, f"{group}.epochs=null", f"{group}.max_steps={options.steps}", *batch


# ---------------------------------------------------------------- one command


def bring(options: argparse.Namespace, *words: str) -> list[Stage]:
    """Run rt-train until its stages are done."""
    words += (*network(options), f"store={options.store}")
    stages = planned(*words)
    while waiting := [stage for stage in stages if stage.directory(options.store).state() != "done"]:
        stage = waiting[0]
        check_images(options, stage)
        large = bool(recall(options, "too large", stage))
        command = [sys.executable, "-m", "robust_transfer.cli.train", *words, *runtime(options, large)]
        to_kill = stage.kind == "pretrain" and stage.config.name == KILLED
        kill = to_kill and not recall(options, "killed", stage)
        code = run_and_kill(options, stage, command) if kill else run(command)
        error = str(stage.directory(options.store).status().error or "")
        if code and error.startswith("no memory left") and not large:
            remember(options, "too large", stage, True)
        elif code:
            raise SystemExit(f"study_scale: rt-train ended with {code}; the same command goes on from here")
    return stages


def check_images(options: argparse.Namespace, stage: Stage) -> None:
    """Refuse a training set that is smaller than a batch: its steps would be too short."""
    if isinstance(stage.config, TrainingConfig):
        images, batch = len(open_dataset("imagefolder", options.images, "train")), stage.config.batch_size
        if images < batch:
            raise SystemExit(
                f"study_scale: {images} training images are no batch of {batch}: --batch-size "
                f"{stage.config.name}=N"
            )


def runtime(options: argparse.Namespace, checkpointing: bool) -> list[str]:
    return [
        "runtime.devices=1",
        f"runtime.num_workers={options.workers}",
        f"runtime.activation_checkpointing={str(checkpointing).lower()}",
        f"runtime.log_every_steps={max(1, options.steps // 20)}",
        f"runtime.save_every_steps={options.steps // 4}",
    ]


def run(command: list[str]) -> int:
    with subprocess.Popen(command) as process:  # unlike call(), it lets an interrupted one write its status
        return process.wait()


def run_and_kill(options: argparse.Namespace, stage: Stage, command: list[str]) -> int:
    """Kill the command once it has logged a step past a checkpoint and return 0; else how it ended."""
    path = stage.directory(options.store).path
    logged = begun = last_step(path)
    with subprocess.Popen(command) as process:
        while logged <= max(begun, options.steps // 4):
            if (code := process.poll()) is not None:
                return code
            time.sleep(0.02)
            logged = last_step(path)
        process.kill()
    state = checkpoints.load(path)
    saved = state["step"] if state else 0
    kept = [line for line in metrics(path) if line["step"] <= saved]
    remember(options, "killed", stage, {"after_step": logged, "checkpoint": saved, "lines": kept})
    return 0


def last_step(path: Path) -> int:
    return max((line["step"] for line in metrics(path)), default=0)


def remember(options: argparse.Namespace, what: str, stage: Stage, value: Any) -> None:
    """Note what the next start must know."""
    path = options.store / "study_scale.json"
    files.write_json(path, {**(files.read_json(path) or {}), f"{what} {stage.key}": value})


if __name__ == "__main__":
    sys.exit(main())
