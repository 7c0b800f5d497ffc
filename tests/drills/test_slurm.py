"""Sweeps through a real Slurm of one node: shared stages first, time limits, requeues, failures."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings

import pytest

from robust_transfer.store import directories
from slurm_cluster import cluster, why_not
from tiny_runs import SMALL, results

pytestmark = pytest.mark.drill
PATIENCE_SECONDS = 420
RUNTIME = ("runtime.devices=1", "runtime.num_workers=0", "runtime.log_every_steps=5")
SOURCE = ("source=mnist5k", "source.shots=5", "model=resnet18_small", "model.width=8", "model.image_size=8")
WORDS = (
    *SMALL,
    *RUNTIME,
    "model.width=8",
    "finetune.max_steps=2",
    "finetune.batch_size=8",
    "certify.n=100",
    "certify.subset=5",
)
PRETRAIN = ("pretrain.max_steps=2", "pretrain.batch_size=10")
JOB = (
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=null",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=2",
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if reason := why_not():
        warnings.warn(f"the Slurm drill does not run: {reason}", stacklevel=1)
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield {**environment, "OMP_NUM_THREADS": "1"}


class Sweep:
    """One rt-train that submits jobs and waits for them."""

    def __init__(self, environment, folder, *words):
        self.environment, self.store, self.log = environment, folder / "runs", folder / "log"
        code = "import sys; from robust_transfer.cli.train import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "-m", *JOB, *words, f"store={self.store}"]
        folder.mkdir(exist_ok=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                # a shell starts what runs in the background deaf to ^C
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def said(self):
        return self.log.read_text(errors="replace")

    def wait(self):
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.said()) from None

    def until(self, happened):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answer := happened()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(self.said())
            time.sleep(0.2)
        return answer

    def stage(self, kind):
        found = [stage for stage in directories.scan(self.store) if stage.kind == kind]
        return found[0] if found else None

    def job(self):
        """Return the id of the first job that was announced."""
        return self.until(lambda: re.search(r"submitted as job (\S+):", self.said()))[1]

    def steps(self, kind):
        """Return the optimiser steps that a stage has logged."""
        stage = self.stage(kind)
        path = stage.path / "metrics.jsonl" if stage else None
        lines = path.read_text().splitlines() if path and path.is_file() else []
        return [int(re.search(r'"step": ?(\d+)', line)[1]) for line in lines if line.endswith("}")]

    def slurm(self, *command):
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        ).stdout


def test_an_array_shares_its_pretraining_and_gives_the_bytes_of_a_local_run(slurm, tmp_path):
    words = (*WORDS, *PRETRAIN, "pretrain=cr", "finetune=cr", "seed=0,1")
    sweep = Sweep(slurm, tmp_path / "slurm", *words)
    assert sweep.wait() == 0, sweep.said()
    ids = re.findall(r"submitted as job (\S+): log in (\S+)/", sweep.said())
    assert len(ids) == 3, sweep.said()  # one pre-training, then an array of two
    assert all(os.path.isdir(folder) for _, folder in ids)
    assert sweep.said().count("cr -> cr") == 2, sweep.said()
    code = "import sys; from robust_transfer.cli.train import main; sys.exit(main())"
    local = [sys.executable, "-c", code, "-m", *words, f"store={tmp_path / 'local'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(local, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert results(sweep.store) == results(tmp_path / "local")


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_sweep_without_pretraining_and_with_a_failing_job(slurm, tmp_path, on_failure):
    words = (*WORDS, "pretrain=none", "finetune=st", "evaluators=[clean]", "finetune.lr=0.01,1e38")
    sweep = Sweep(slurm, tmp_path / "sweep", *words, f"on_failure={on_failure}")
    assert sweep.wait() == 2, sweep.said()
    assert "Traceback" not in sweep.said()
    assert "a lower learning rate" in sweep.said()
    assert ("none -> st" in sweep.said()) == (on_failure == "continue")


LONG = (
    *SOURCE,
    *RUNTIME,
    "runtime.device=cpu",
    "runtime.save_every_steps=100000",
    "pretrain=st",
    "until=pretrain",
    "pretrain.batch_size=10",
)
ENDLESS = ("pretrain.max_steps=100000", "pretrain.epochs=null")


def test_a_time_limit_saves_and_the_requeued_job_goes_on_from_there(slurm, tmp_path):
    # Ninety seconds to the warning: a busy machine needs thirty for the imports alone.
    limit = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30")
    many = "hydra.launcher.max_num_timeout=50"
    sweep = Sweep(slurm, tmp_path / "sweep", *LONG, *ENDLESS, *limit, many)
    sweep.until(lambda: sweep.stage("pretrain") and (sweep.stage("pretrain").path / "last.pt").is_file())
    stage = sweep.stage("pretrain")
    assert stage.state() == "resumable"
    kept = sweep.steps("pretrain")[-1]
    job = sweep.job()
    sweep.until(lambda: "Restarts=1" in sweep.slurm("scontrol", "show", "job", job.split("_")[0]))
    sweep.slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    sweep.until(lambda: sweep.steps("pretrain")[-1] > kept)
    steps = sweep.steps("pretrain")
    assert steps == sorted(set(steps))
    sweep.slurm("scancel", job.split("_")[0])
    assert sweep.wait() == 2, sweep.said()
    assert "ended without a result" in sweep.said()


def test_a_job_that_is_queued_again_by_hand_ends_as_if_nothing_had_happened(slurm, tmp_path):
    long = ("pretrain.max_steps=600", "pretrain.epochs=null")
    sweep = Sweep(slurm, tmp_path / "sweep", *LONG, *long)
    sweep.until(lambda: sweep.steps("pretrain"))
    job = sweep.job()
    sweep.slurm("scontrol", "requeue", job)
    sweep.until(lambda: (sweep.stage("pretrain").path / "last.pt").is_file())
    sweep.until(lambda: "Restarts=1" in sweep.slurm("scontrol", "show", "job", job.split("_")[0]))
    sweep.slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    assert sweep.wait() == 0, sweep.said()
    steps = sweep.steps("pretrain")
    assert steps[-1] == 600 and steps == sorted(set(steps))


def test_a_first_interrupt_of_the_waiting_command_says_that_its_jobs_go_on(slurm, tmp_path):
    sweep = Sweep(slurm, tmp_path / "sweep", *LONG, "pretrain.max_steps=100000", "pretrain.epochs=null")
    sweep.until(lambda: sweep.steps("pretrain"))
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.wait() == 130, sweep.said()
    assert f"job {sweep.job()} goes on" in sweep.said()
    sweep.slurm("scancel", sweep.job().split("_")[0])
