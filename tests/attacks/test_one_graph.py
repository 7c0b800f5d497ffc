"""The compiled graph of a loss and its input gradient, against autograd in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robust_transfer.attacks import autopgd, one_graph
from robust_transfer.attacks.model import LogitModel
from robust_transfer.attacks.one_graph import _input_gradient_of_convolution, gradient_graph
from robust_transfer.core import rng
from robust_transfer.models.fast import fast_inference


@settings(deadline=None, max_examples=40)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 2)),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
def test_a_convolutions_input_gradient_is_a_convolution(kernel, stride, padding, size):
    with rng.global_state(0, "convolution"):
        points = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(4, 3, *kernel, dtype=torch.float64)
    output = nn.functional.conv2d(points, weight, stride=stride, padding=padding)
    (expected,) = torch.autograd.grad(output.square().sum(), points)
    given = (2 * output.detach(), points.detach(), weight, None, stride, padding, (1, 1), False, (0, 0), 1)
    found, *none = _input_gradient_of_convolution(*given, (True, False, False))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert none == [None, None]
    assert _input_gradient_of_convolution(*given, (True, True, False)) is NotImplemented


def network():
    with rng.global_state(3, "init"):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 1, stride=2),
            nn.Flatten(),
            nn.Linear(64, 5),
        ).eval()


def inputs():
    with rng.global_state(4, "inputs"):
        return torch.rand(6, 3, 12, 9), torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([1, 2, 3, 4, 0, 2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile warns about its own parts
def test_the_graph_computes_what_autograd_does_with_packed_weights():
    from torch._inductor.utils import run_and_get_code

    model, (points, labels, targets) = network(), inputs()
    fast = LogitModel(fast_inference(model, compile=True))
    graph, [code] = run_and_get_code(gradient_graph, fast, "ce", points, labels, targets)
    double, exact = copy.deepcopy(model).double(), points.double().requires_grad_()
    expected = nn.functional.cross_entropy(double(exact), labels, reduction="none")
    (gradients,) = torch.autograd.grad(expected.sum(), exact)
    found = graph(points, labels, targets)
    for part, other in zip(found, (double(exact), expected, gradients), strict=True):
        torch.testing.assert_close(part.double(), other.detach(), rtol=1e-5, atol=1e-6)
    assert gradient_graph(fast, "ce", points, labels, targets) is graph
    # The backward pass of convolutions in groups alone stays torch's.
    assert code.count("= torch.ops.aten.convolution_backward.default(") == 1
    assert "extern_kernels.convolution(" not in code and "_frozen_param" in code
    # Attacks take it, and end where they do without.
    ends = [
        autopgd(
            model, points, double(exact).argmax(1), gradient_model=copy_, eps=0.3, num_steps=3,
            batch_size=len(points), shapes="one", guards="off",
        )
        for copy_ in (fast.model, fast_inference(model))
    ]  # fmt: skip
    torch.testing.assert_close(ends[0].images, ends[1].images, rtol=0, atol=1e-4)
    assert ends[0].gradient_steps.sum() > len(points) and list(fast.model.graphs) == [("ce", points.shape)]


class Branching(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :5] * (1 if images.sum() > 0 else 2)


@pytest.mark.slow
def test_a_graph_of_another_function_is_not_taken(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    fast, others = LogitModel(fast_inference(network(), compile=True)), inputs()
    assert gradient_graph(fast, "ce", *others) is not None

    def doubled(*args):
        found = _input_gradient_of_convolution(*args)
        return found if found is NotImplemented else (2 * found[0], None, None)

    monkeypatch.setattr(one_graph, "_input_gradient_of_convolution", doubled)
    assert gradient_graph(fast, "dlr", *others) is None


@pytest.mark.slow
def test_what_has_no_graph_goes_without():
    points, labels, targets = inputs()
    plain, compiled = (
        LogitModel(fast_inference(m, compile=c)) for m, c in ((network(), False), (Branching(), True))
    )
    assert gradient_graph(plain, "ce", points, labels, targets) is None
    assert gradient_graph(compiled, "ce", points, labels, targets) is None
    assert compiled.model.graphs == {("ce", points.shape): None}
