import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from robust_transfer import dist
from robust_transfer.errors import ConfigError, DataError, UserError


@pytest.fixture(autouse=True)
def no_outer_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def gpus(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


@pytest.mark.parametrize(
    ("visible", "batch_size", "expected"),
    [(8, 512, 8), (8, 64, 4), (8, 96, 6), (4, 31, 1), (3, 64, 2), (8, 16, 1), (6, 200, 5), (8, None, 8)],
)
def test_auto_takes_the_largest_divisor_that_leaves_sixteen_images(
    monkeypatch, visible, batch_size, expected
):
    gpus(monkeypatch, visible)
    assert dist.choose_devices("auto", batch_size=batch_size, device_kind="cuda") == expected


def test_auto_on_a_cpu_is_one_process():
    assert dist.choose_devices("auto", batch_size=512, device_kind="cpu") == 1


def test_a_number_that_does_not_divide_is_refused_with_those_that_do(monkeypatch):
    gpus(monkeypatch, 8)
    with pytest.raises(ConfigError, match="64 images is not divided by 6 devices") as caught:
        dist.choose_devices(6, batch_size=64, device_kind="cuda")
    assert "1, 2, 4" in caught.value.hints[0]
    # The rule of 16 images is for auto alone.
    assert dist.choose_devices(8, batch_size=64, device_kind="cuda") == 8


def test_more_devices_than_there_are_and_a_missing_gpu_are_refused(monkeypatch):
    gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match="torch sees 2 CUDA devices"):
        dist.choose_devices(4, batch_size=64, device_kind="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        dist.choose_kind("cuda")
    assert dist.choose_kind("auto") == "cpu"


def test_an_outer_launcher_decides_the_number(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert dist.choose_devices("auto", batch_size=64, device_kind="cpu") == 4
    with pytest.raises(ConfigError, match="not divided by 4"):
        dist.choose_devices(2, batch_size=6, device_kind="cpu")


def test_a_slurm_step_is_translated(monkeypatch):
    step = {
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_PROCID": "9",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "123456",
        "SLURM_STEP_NODELIST": "node[03-04]",
    }
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that monkeypatch removes what is set here
        monkeypatch.delenv(name)
    asked = []

    def scontrol(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="node03\nnode04\n")

    monkeypatch.setattr(dist.subprocess, "run", scontrol)
    assert dist.started_outside()
    assert asked == [["scontrol", "show", "hostnames", "node[03-04]"]]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["9", "1", "16", "node03", "23456"]


def test_one_process_is_the_identity():
    context, tensor, model = dist.single("cpu"), torch.rand(3), nn.Linear(2, 2)
    assert context.is_main and context.world_size == 1
    assert (
        context.mean(tensor) is tensor and context.gather(tensor) is tensor and context.sum(tensor) is tensor
    )
    assert context.any(True) and not context.any(False)
    assert context.broadcast("x") == "x" and context.wrap(model) is model and dist.unwrap(model) is model
    context.barrier()


def add(a, b, context):
    return a + b + context.rank


def test_one_device_runs_in_this_process():
    assert dist.launch(lambda context: os.getpid(), (), devices=1, device_kind="cpu") == os.getpid()
    assert dist.launch(add, (1, 2), devices="auto", device_kind="cpu", batch_size=64) == 3


# ---------------------------------------------------------------- two processes


def collectives(context):
    """Everything a context offers, against what one process would compute."""
    rank = context.rank
    own = torch.tensor([1.0 + rank, 10.0 * (rank + 1)], requires_grad=True)
    everyone = context.gather(own)
    # This process's loss weighs all parts; the gradient of its own part comes from both losses.
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0]) * (rank + 1)
    (everyone * weights).sum().backward()
    summed = torch.tensor([2.0 + rank], requires_grad=True)
    (dist.all_sum(summed) * (rank + 5)).sum().backward()
    model = context.wrap(nn.Linear(1, 1, bias=False))
    with dist.accumulating(model):
        model(torch.tensor([[1.0 + rank]])).sum().backward()
    local = dist.unwrap(model).weight.grad.clone()
    model(torch.zeros(1, 1)).sum().backward()
    context.barrier()
    return {
        "gathered": everyone.tolist(),
        "gradient": context.gather(own.grad).tolist(),
        "sum_gradient": summed.grad.item(),
        "mean": context.mean(torch.tensor(float(rank))).item(),
        "sum": context.sum(torch.tensor(rank + 1)).item(),
        "any": [context.any(rank == 1), context.any(False)],
        "broadcast": context.broadcast(f"from {rank}"),
        "accumulated": [local.item(), dist.unwrap(model).weight.grad.item()],
        "device": str(context.device),
    }


@pytest.mark.slow
def test_collectives_over_two_processes():
    handlers = [signal.getsignal(number) for number in dist.HANDLED]
    assert dist.launch(collectives, (), devices=2, device_kind="cpu", batch_size=4) == {
        "gathered": [1.0, 10.0, 2.0, 20.0],
        "gradient": [3.0, 6.0, 9.0, 12.0],
        "sum_gradient": 11.0,
        "mean": 0.5,
        "sum": 3,
        "any": [True, False],
        "broadcast": "from 0",
        "accumulated": [1.0, 1.5],
        "device": "cpu",
    }
    assert [signal.getsignal(number) for number in dist.HANDLED] == handlers


def fail(how, context):
    if context.rank == 1:
        if how == "user":
            raise DataError("pets is missing (expected 37 classes)", "rt-data fetch pets")
        if how == "bug":
            raise KeyError("our bug")
        os.kill(os.getpid(), signal.SIGKILL)
    context.barrier()
    time.sleep(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "expected", "text"),
    [
        ("user", DataError, "pets is missing"),
        ("bug", RuntimeError, "our bug"),
        ("kill", UserError, "worker 1 of 2 was killed by signal 9"),
    ],
)
def test_a_worker_that_dies_brings_the_run_down_with_its_own_message(how, expected, text):
    with pytest.raises(expected, match=text) as caught:
        dist.launch(fail, (how,), devices=2, device_kind="cpu")
    if how == "user":
        assert caught.value.hints == ("rt-data fetch pets",)


@pytest.mark.slow
def test_sigterm_reaches_the_workers_and_code_75_comes_back(tmp_path):
    (tmp_path / "stage.py").write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from robust_transfer import dist
            from robust_transfer.training.interrupt import Interrupted, listening

            def wait(folder, context):
                with listening() as listener:
                    (folder / f"ready{context.rank}").touch()
                    while not context.any(listener.requested):
                        time.sleep(0.05)
                (folder / f"saved{context.rank}").touch()
                raise Interrupted

            if __name__ == "__main__":
                dist.launch(wait, (Path(sys.argv[1]),), devices=2, device_kind="cpu")
            """
        )
    )
    process = subprocess.Popen([sys.executable, tmp_path / "stage.py", tmp_path], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            assert process.poll() is None and time.monotonic() < deadline, "the workers never started"
            time.sleep(0.1)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 75, errors.decode()
    assert all((tmp_path / f"saved{rank}").exists() for rank in range(2))
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_joins_what_torchrun_has_started(tmp_path):
    (tmp_path / "joined.py").write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            from robust_transfer import dist

            def show(folder, text, context):
                with dist.join("cpu") as again:
                    assert again is context
                total = context.sum(__import__("torch").tensor(1)).item()
                (folder / f"{text}{context.rank}").write_text(str(total))
                return context.rank

            # Twice, as a run of several stages does.
            with dist.join("cpu"):
                for text in ("first", "second"):
                    arguments = (Path(sys.argv[1]), text)
                    dist.launch(show, arguments, devices="auto", device_kind="cpu", batch_size=64)
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, tmp_path / "joined.py", tmp_path], check=True, timeout=120, capture_output=True)
    found = {path.name: path.read_text() for path in Path(tmp_path).glob("*[01]")}
    assert found == {"first0": "2", "first1": "2", "second0": "2", "second1": "2"}
