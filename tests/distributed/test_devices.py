import pytest
import torch

from robust_transfer.core.errors import ConfigError
from robust_transfer.distributed import devices
from robust_transfer.distributed.devices import check_precision, choose_devices, choose_kind, choose_workers


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
    assert choose_devices("auto", batch_size=batch_size, device_kind="cuda") == expected


def test_auto_on_a_cpu_is_one_process():
    assert choose_devices("auto", batch_size=512, device_kind="cpu") == 1


def test_a_number_that_does_not_divide_is_refused_with_those_that_do(monkeypatch):
    gpus(monkeypatch, 8)
    with pytest.raises(ConfigError, match="64 images is not divisible by 6 devices") as caught:
        choose_devices(6, batch_size=64, device_kind="cuda")
    assert "1, 2, 4" in caught.value.hints[0]
    # The rule of 16 images is for auto alone.
    assert choose_devices(8, batch_size=64, device_kind="cuda") == 8


def test_more_devices_than_there_are_and_a_missing_gpu_are_refused(monkeypatch):
    gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match="torch sees 2 CUDA devices"):
        choose_devices(4, batch_size=64, device_kind="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        choose_kind("cuda")
    assert choose_kind("auto") == "cpu"
    with pytest.raises(ConfigError, match="Apple's GPUs have no float64"):
        choose_kind("mps")


def test_another_accelerator_is_found_where_there_is_no_cuda_and_what_it_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no XPU device"):
        choose_kind("xpu")
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert choose_kind("auto") == "xpu"
    assert choose_devices("auto", batch_size=64, device_kind="xpu") == 2
    with pytest.raises(ConfigError, match="torch sees 2 XPU devices"):
        choose_devices(4, batch_size=64, device_kind="xpu")
    with pytest.raises(ConfigError, match=r"pretrain.precision=tf32 on xpu"):
        check_precision("tf32", device_kind="xpu", group="pretrain")
    check_precision("bf16", device_kind="xpu", group="pretrain")


def test_an_outer_launcher_decides_the_number(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert choose_devices("auto", batch_size=64, device_kind="cpu") == 4
    with pytest.raises(ConfigError, match="not divisible by 4"):
        choose_devices(2, batch_size=6, device_kind="cpu")


def test_workers_are_a_share_of_the_cores_for_each_gpu_and_none_on_the_cpu(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(devices, "usable_cores", lambda: 32)
    assert choose_workers("auto", device=gpu) == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers("auto", device=gpu) == 7
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    assert choose_workers("auto", device=gpu) == 1
    assert choose_workers("auto", device=torch.device("cpu")) == 0
    assert choose_workers(3, device=torch.device("cpu")) == 3
