"""One whole optimiser step of every method on a device: nothing is mixed up, and the host never waits."""

import importlib

import pytest
import torch

import pretend_device
from pairs import pairs_of
from pretend_device import Positions, fake_device, put_in
from robust_transfer.config.model import ModelConfig
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.data.loaders import Batch
from robust_transfer.objectives import Progress
from robust_transfer.training.measure import synthetic_step
from training_jobs import METHODS, make_method, make_runtime

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # torch's deepcopy
SIZE, PIXELS = 4, 8
MODEL = ModelConfig(arch="resnet18_small", width=8, image_size=PIXELS, normalize="imagenet")
SWITCHES = list(
    pairs_of(
        precision=("fp32", "bf16"),
        activation_checkpointing=(False, True),
        channels_last=(False, True),
        micro_batch=(None, 2),
        augment_on=("cpu", "device"),
    )
)


def step(name, *, precision, activation_checkpointing, channels_last, micro_batch, augment_on, **changes):
    """Take a step on the device and return its loss and metrics."""
    config = make_method(name, batch_size=SIZE, precision=precision, **changes)
    if config.spec.accumulates:
        config.micro_batch = micro_batch
    drawn = augment_on == "device" and hasattr(config, "augment_on")
    if hasattr(config, "augment_on"):
        config.augment_on = augment_on
    runtime = make_runtime(channels_last=channels_last, activation_checkpointing=activation_checkpointing)
    device = str(pretend_device.DEVICE)
    with fake_device(), training_arithmetic(precision):
        train = synthetic_step(config, MODEL, runtime, device=device, num_classes=10)
        views = len(train.objective.views(PIXELS, 0))
        batch = Batch(
            tuple(torch.zeros(SIZE, 3, PIXELS, PIXELS, dtype=torch.uint8) for _ in range(views)),
            torch.zeros(SIZE, dtype=torch.int64),
            Positions(range(SIZE)),
            0,
            drawn=tuple(torch.zeros(SIZE, 12) for _ in range(views)) if drawn else (),
        )
        values = train(batch, Progress(step=3, total=10, epoch=0, steps_per_epoch=5))
        for tensor in (*values.values(), *train.trained.state_dict().values()):
            assert tensor.device == pretend_device.DEVICE
        gradients = [p.grad for p in train.trained.parameters() if p.grad is not None]
        assert gradients and all(gradient.device == pretend_device.DEVICE for gradient in gradients)
    assert values["loss"].dtype == torch.float32
    return values


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_stays_on_the_device(name):
    step(name, **SWITCHES[METHODS.index(name) % len(SWITCHES)])


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda row: " ".join(map(str, row.values())))
def test_all_pairs_of_switches(switches):
    step("at", **switches)


PLAIN = {
    "precision": "fp32",
    "activation_checkpointing": False,
    "channels_last": True,
    "micro_batch": None,
    "augment_on": "device",
}
FAULTS = {
    "positions of pairs on the CPU": (
        *("simclr", "objectives.simclr"),
        *("torch.arange(count, device=anchors.device)", "torch.arange(count)"),
    ),
    "noise on the CPU": (
        *("cr", "training.noise"),
        *("*self.shape, device=self.device, dtype=self.dtype", "*self.shape, dtype=self.dtype"),
    ),
    "start of the attack on the CPU": (
        *("at", "objectives.adversarial"),
        *('start=noise("start", 0) if', 'start=noise("start", 0).cpu() if'),
    ),
    "circle of hues on the CPU": (
        *("simclr", "data.device_views"),
        *("torch.tensor([5.0, 3.0, 1.0]).to(images.device)", "torch.tensor([5.0, 3.0, 1.0])"),
    ),
    "kernel of the blur on the CPU": (
        *("simclr", "data.device_views"),
        *("gaussian_kernel(size, sigma).to(images.device)", "gaussian_kernel(size, sigma)"),
    ),
    "labels on the CPU": (
        *("st", "training.step"),
        *("batch.labels.to(self.context.device, non_blocking=True)", "batch.labels"),
    ),
    "model on the CPU": (
        *("st", "training.step"),
        *("trained.to(context.device).to(memory_format", "trained.to(memory_format"),
    ),
    "normalisation that is no buffer": (
        *("st", "models.normalized"),
        *("self.register_buffer(name, buffer, persistent=False)", "setattr(self, name, buffer)"),
    ),
    "a number read in the step": (
        *("st", "training.step"),
        *("+ value.detach() * part.weight", "+ value.item() * part.weight"),
    ),
    "rows chosen on the device": (
        *("simclr", "data.device_views"),
        *("rows = chosen.nonzero()", "rows = chosen.to(images.device).nonzero()"),
    ),
    "a loss in bfloat16": (
        *("st", "objectives.objective"),
        *("return tensor.to(torch.promote_types(tensor.dtype, torch.float32))", "return tensor"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault, monkeypatch):
    name, module, old, new = FAULTS[fault]
    put_in(monkeypatch, importlib.import_module(f"robust_transfer.{module}"), old, new)
    switches = {**PLAIN, "precision": "bf16"} if fault == "a loss in bfloat16" else PLAIN
    with pytest.raises((RuntimeError, AssertionError, TypeError)):
        step(name, **switches)
