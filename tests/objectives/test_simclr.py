import math

import numpy as np
import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.models import build_model
from robust_transfer.objectives import build, nt_xent
from robust_transfer.objectives.simclr import projection_head
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method


def brute_force(a, b, temperature, decoupled):
    """Equation 1 of the paper with loops and math.exp, in float64."""
    rows = np.concatenate([a, b]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count = len(a)
    losses = []
    for i in range(2 * count):
        positive = (i + count) % (2 * count)
        others = [k for k in range(2 * count) if k != i and not (decoupled and k == positive)]
        denominator = sum(math.exp(rows[i] @ rows[k] / temperature) for k in others)
        losses.append(-math.log(math.exp(rows[i] @ rows[positive] / temperature) / denominator))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_against_brute_force(temperature, decoupled):
    a, b = 3 * rng.normal((5, 8), 0, "a"), rng.normal((5, 8), 0, "b")
    expected = brute_force(a.numpy(), b.numpy(), temperature, decoupled)
    assert nt_xent(a, b, temperature, decoupled).item() == pytest.approx(expected, rel=1e-5)


def test_nt_xent_ignores_length_and_order():
    a, b = rng.normal((6, 8), 1, "a"), rng.normal((6, 8), 1, "b")
    lengths = torch.arange(1.0, 7.0).unsqueeze(1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    loss = nt_xent(a, b, 0.2).item()
    assert nt_xent(lengths * a, b / lengths, 0.2).item() == pytest.approx(loss, rel=1e-5)
    assert nt_xent(a[order], b[order], 0.2).item() == pytest.approx(loss, rel=1e-5)
    assert nt_xent(b, a, 0.2).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("decoupled", [False, True])
def test_nt_xent_gradient_against_finite_differences(decoupled):
    a, b = (rng.normal((3, 4), 2, name).double().requires_grad_() for name in "ab")
    assert torch.autograd.gradcheck(lambda x, y: nt_xent(x, y, 0.3, decoupled), (a, b))


def test_nt_xent_is_float32_under_autocast_and_for_half_inputs():
    a, b = rng.normal((64, 16), 3, "a").half(), rng.normal((64, 16), 3, "b").half()
    # exp(1 / 0.05) does not fit into half precision.
    expected = nt_xent(a.double(), b.double(), 0.05).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nt_xent(a, b, 0.05)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("num_layers", [2, 3])
def test_projection_head_as_published(num_layers):
    head = projection_head(32, 8, num_layers)
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(32, 32)] * (num_layers - 1) + [(8, 32)]
    assert all(layer.bias is None for layer in linear)
    assert isinstance(head[-1], nn.BatchNorm1d) and not head[-1].bias.requires_grad
    assert sum(isinstance(layer, nn.ReLU) for layer in head) == num_layers - 1


def test_objective_is_nt_xent_of_both_views_in_one_pass():
    config = make_method("simclr", temperature=0.2)
    features = small_model(0)
    objective = build(config)
    model = objective.training_model(features, {})
    model.train()
    views = tuple(torch.rand(4, 3, 8, 8, generator=rng.generator(0, name)) for name in "ab")
    loss, metrics = objective(model, whole(*views, torch.zeros(4, dtype=torch.int64)), None, FIRST)
    together = model(torch.cat(views))  # train mode: BatchNorm uses the batch's own statistics again
    wanted = nt_xent(together[:4], together[4:], 0.2).item()
    assert loss.item() == pytest.approx(2 * wanted, rel=1e-5)
    assert metrics["nt_xent"].item() == pytest.approx(wanted, rel=1e-5)
    assert features.backbone.bn1.num_batches_tracked == 2
    assert objective.exported_model(model) is features


@pytest.mark.parametrize(("arch", "last"), [("resnet18_small", "bn2"), ("resnet50", "bn3")])
def test_every_residual_block_begins_as_its_shortcut(arch, last):
    model = build_model(
        arch, num_classes=0, class_names=[], image_size=32, width=64, normalize="none", seed=0
    )
    config = make_method("simclr", zero_init_residual=True)
    build(config).training_model(model, {})
    zeros = {name for name, value in model.named_parameters() if name.endswith("weight") and not value.any()}
    blocks = [name for name, module in model.named_modules() if hasattr(module, last)]
    wanted = {f"{name}.{last}.weight" for name in blocks if ".layer" in name}
    assert len(wanted) in (8, 16) and zeros == wanted
