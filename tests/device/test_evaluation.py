"""Attacks, certificates and fast inference on a device: the CPU's results, and few waits of the host."""

import pytest
import torch

import pretend_device
from evaluation_jobs import fitted_model, journal_lines, make_job, run, run_shards, save
from pretend_device import held_device
from robust_transfer.attacks import autopgd, pgd
from robust_transfer.attacks.autoattack import autoattack
from robust_transfer.core import rng
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import build_model
from robust_transfer.smoothing import certify

IMAGES = torch.rand(6, 3, 8, 8, generator=rng.generator(0, "images"))


def model():
    names = [str(k) for k in range(10)]
    return build_model(
        "resnet18_small",
        num_classes=10,
        class_names=names,
        image_size=8,
        width=4,
        normalize="imagenet",
        seed=0,
    ).eval()


def attacked(result):
    return result.robust.tolist(), result.adversarial_prediction.tolist(), result.distance.tolist()


# What runs, and how often the host may wait for the device: budgets to lower, not to raise.
WORK = {
    "pgd": (
        lambda m, x, y: attacked(pgd(m, x, y, eps=0.1, num_steps=3, batch_size=4, guards="off")),
        70,
    ),
    "autopgd": (
        lambda m, x, y: attacked(autopgd(m, x, y, eps=0.1, num_steps=5, batch_size=4, guards="off")),
        90,
    ),
    "autopgd with guards": (
        lambda m, x, y: attacked(autopgd(m, x, y, eps=0.1, num_steps=5, batch_size=4)),
        120,
    ),
    "autoattack": (
        lambda m, x, y: attacked(
            autoattack(m, x[:3], y[:3], eps=0.02, num_steps=2, num_queries=3, batch_size=4, guards="off")
        ),
        1500,
    ),
    "certify": (
        lambda m, x, y: (lambda c: (c.prediction, c.radius, dict(c.counts)))(
            certify(m, x[0], sigma=0.5, n0=100, n=200, alpha=0.001, batch_size=100)
        ),
        12,
    ),
    "fast inference": (lambda m, x, y: fast_inference(m)(x).argmax(1).tolist(), 2),
}


@pytest.mark.parametrize("name", WORK)
def test_results_are_the_cpus_and_waits_are_few(name):
    work, budget = WORK[name]
    with torch.no_grad():
        labels = model()(IMAGES).argmax(1)
    expected = work(model(), IMAGES, labels)
    with held_device() as waits:
        device = pretend_device.DEVICE
        network = model().to(device)
        images, given = IMAGES.to(device), labels.to(device)
        waits.clear()
        assert work(network, images, given) == expected
    assert 0 < waits.total() <= budget, dict(waits)


# A pretend device's autograd knows one of its kind: both processes that attack have that one.
@pytest.mark.parametrize(("name", "second"), [("clean", 1), ("pgd", 0), ("certify", 1)])
def test_an_evaluation_over_two_devices_has_the_cpus_records(name, second, tmp_path):
    """Each process keeps to its own device: what it left on the first one could not be read on the second."""
    model = save(fitted_model(), tmp_path / "model.safetensors")
    expected = run(make_job(name, tmp_path / "cpu", model))
    with held_device():
        job = make_job(name, tmp_path / "devices", model)
        devices = [f"{pretend_device.NAME}:{index}" for index in (0, second)]
        assert run_shards(job, 2, devices) == expected
    for rank in range(2):
        assert f'"device": "{pretend_device.NAME}"' in journal_lines(job, rank)[0].decode()


def test_two_devices_in_one_operation_are_refused_and_waits_are_counted():
    """What these tests rest on, torch's private registration of a device among it."""
    with held_device() as waits:
        device = pretend_device.DEVICE
        images = IMAGES.to(device)
        assert images.device == device and images.mean().device == device
        with pytest.raises(RuntimeError, match=r"tensors on .* and on the CPU"):
            images + IMAGES
        with pytest.raises(RuntimeError, match=r"tensors on .*:0 and .*:1"):
            images + IMAGES.to(f"{pretend_device.NAME}:1")
        waits.clear()
        assert images.sum().item() == pytest.approx(IMAGES.sum().item())
        images[images > 0.5]
        images.cpu()
        assert waits.total() == 3
        weight = torch.ones(3, device=device, requires_grad=True)
        (weight * 2).sum().backward()
        assert weight.grad.device == device and weight.grad.tolist() == [2, 2, 2]
