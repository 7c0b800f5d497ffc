"""What only a GPU can show: mixed precision, compiled graphs, NCCL. Run by scripts/gpu_check.py."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from robust_transfer.core import rng
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.data.device_views import finish
from robust_transfer.data.views import two_views
from robust_transfer.distributed.launch import launch
from robust_transfer.training.job import train
from training_jobs import make_job, make_runtime

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
METHODS = ("st", "st_linear", "at", "cr", "simclr")


def losses(directory):
    return [json.loads(line)["loss"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


def run(name, directory, *, devices=1, device="cuda", runtime=None, **changes):
    settings = {"epochs": None, "max_steps": 6, "batch_size": 16, "lr": 1e-3, **changes}
    job = make_job(name, directory, runtime=make_runtime(device=device, **(runtime or {})), **settings)
    totals = launch(train, (job,), devices=devices, device_kind=device, batch_size=16)
    return losses(directory), totals


@pytest.mark.parametrize("name", METHODS)
def test_equal_runs_of_one_gpu_agree_up_to_rounding(name, tmp_path):
    first, totals = run(name, tmp_path / "first")
    second, _ = run(name, tmp_path / "second")
    assert totals["device"] == torch.cuda.get_device_name() and totals["peak_memory_bytes"] > 0
    assert second[:3] == pytest.approx(first[:3], rel=1e-3)


def test_without_noise_a_gpu_trains_like_a_cpu(tmp_path):
    on_gpu, _ = run("st", tmp_path / "gpu")
    on_cpu, _ = run("st", tmp_path / "cpu", device="cpu")
    assert on_gpu[:3] == pytest.approx(on_cpu[:3], rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_views_are_finished_on_a_gpu_as_on_a_cpu(precision):
    make, _ = two_views(224, 1.0, "device")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    views = []
    for i in range(32):
        with rng.global_state(0, "views", i):
            views.append(make(image))
    crops, drawn = (torch.stack(part) for part in zip(*views, strict=True))
    with training_arithmetic(precision):
        found = finish(crops.cuda(), drawn)
    assert found.is_cuda and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), finish(crops, drawn), rtol=0, atol=1e-4)


def test_views_finished_on_the_device_train_alike_on_both(tmp_path):
    on_gpu, _ = run("simclr", tmp_path / "gpu", augment_on="device")
    on_cpu, _ = run("simclr", tmp_path / "cpu", device="cpu", augment_on="device")
    assert on_gpu[0] == pytest.approx(on_cpu[0], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "runtime"),
    [
        ({"precision": "tf32"}, {}),
        ({"precision": "bf16"}, {"channels_last": True}),
        ({}, {"activation_checkpointing": True}),
        ({}, {"compile": True}),
        ({"precision": "bf16"}, {"compile": True, "channels_last": True}),
    ],
)
@pytest.mark.parametrize("name", ["at", "simclr"])
def test_switches_of_speed_change_rounding_alone(name, changes, runtime, tmp_path):
    plain, _ = run(name, tmp_path / "plain")
    switched, _ = run(name, tmp_path / "switched", runtime=runtime, **changes)
    tolerance = 0.05 if "precision" in changes else 1e-3
    assert switched[0] == pytest.approx(plain[0], rel=tolerance)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("name", METHODS)
def test_two_gpus_train_like_one(name, tmp_path):
    one, _ = run(name, tmp_path / "one")
    two, totals = run(name, tmp_path / "two", devices=2)
    assert totals["world_size"] == 2
    assert two[:3] == pytest.approx(one[:3], rel=1e-3)
