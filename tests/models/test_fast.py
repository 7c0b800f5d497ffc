"""The fast copy against the model it was made from, BatchNorm folded by hand, and torch's own autocast."""

import copy
import hashlib

import pytest
import torch
import torchvision
from torch import nn

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.numerics import arithmetic
from robust_transfer.models.fast import fast_inference, inference_layout, weights_hash

FLAGS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
    torch.backends.mkldnn.matmul,
)


def randomised(model, seed=0):
    """Give BatchNorm layers statistics and weights that folding must carry over."""
    for i, module in enumerate(model.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.2 * rng.normal(module.running_mean.shape, seed, "mean", i))
            module.running_var.copy_(0.5 + rng.normal(module.running_var.shape, seed, "var", i).abs())
            module.weight.data.copy_(1 + 0.2 * rng.normal(module.weight.shape, seed, "weight", i))
            module.bias.data.copy_(0.2 * rng.normal(module.bias.shape, seed, "bias", i))
    return model


@pytest.fixture(scope="module")
def resnet():
    with rng.global_state(0, "init"):
        return randomised(torchvision.models.resnet18(num_classes=7))


@pytest.fixture(scope="module")
def images():
    return torch.rand((4, 3, 32, 32), generator=rng.generator(0, "images"))


def exact_logits(model, images):
    """Compute in float64, BatchNorm by its formula in eval mode."""
    return copy.deepcopy(model).eval().double()(images.double()).detach()


def test_fp32_logits_are_those_of_the_model_up_to_rounding(resnet, images):
    expected = exact_logits(resnet, images)
    actual = fast_inference(resnet)(images)
    assert actual.dtype == torch.float32
    assert (actual - expected).abs().max() < 2e-5 * expected.abs().max()


def test_every_batchnorm_of_a_resnet_is_folded_and_the_original_is_untouched(resnet):
    before, training = weights_hash(resnet), [m.training for m in resnet.modules()]
    fast = fast_inference(resnet)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert sum(isinstance(m, nn.Conv2d) for m in fast.modules()) == 20
    assert not any(p.requires_grad for p in fast.parameters()) and not any(m.training for m in fast.modules())
    assert weights_hash(resnet) == before and [m.training for m in resnet.modules()] == training
    assert all(p.requires_grad for p in resnet.parameters())


class Shared(nn.Module):
    """One convolution read twice, once through BatchNorm: folding would be wrong in three ways."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.other = nn.Conv2d(3, 3, 1)
        self.other_norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 5)

    def forward(self, x):
        x = self.norm(self.conv(x)) + self.norm(self.conv(x + 1))
        y = self.other(x)
        return self.fc((y + self.other_norm(y)).mean((2, 3)))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        y = self.norm(self.conv(x if x.mean() > 0 else -x))
        return self.fc(y.mean((2, 3)))


@pytest.mark.parametrize("kind", [Shared, Untraceable])
def test_what_cannot_be_folded_is_left_and_gives_the_same_logits(kind, images):
    with rng.global_state(1, "init"):
        model = randomised(kind())
    fast = fast_inference(model)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in fast.modules()) == sum(
        isinstance(m, nn.BatchNorm2d) for m in model.modules()
    )
    torch.testing.assert_close(fast(images).double(), exact_logits(model, images), rtol=1e-5, atol=1e-5)


def test_weight_norm_is_not_folded_away(images):
    with rng.global_state(2, "init"):
        conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        model = randomised(nn.Sequential(conv, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 30 * 30, 5)))
    torch.testing.assert_close(
        fast_inference(model)(images).double(), exact_logits(model, images), rtol=1e-5, atol=1e-5
    )


def test_input_gradients_go_through_the_copy(resnet, images):
    inputs, leaf = images.clone().requires_grad_(), images.double().requires_grad_()
    (expected,) = torch.autograd.grad(copy.deepcopy(resnet).eval().double()(leaf)[:, 0].sum(), leaf)
    (actual,) = torch.autograd.grad(fast_inference(resnet)(inputs)[:, 0].sum(), inputs)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()


def test_bf16_is_autocast_with_the_head_in_float32(images):
    """Against autocast on the folded float32 copy, its head taken out and applied by hand."""
    with rng.global_state(0, "init"):
        model = randomised(torchvision.models.resnet18(num_classes=7))
    head, model.fc = model.fc, nn.Identity()
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = fast_inference(model).body(images.contiguous(memory_format=torch.channels_last))
        assert features.dtype == torch.bfloat16
        expected = nn.functional.linear(features.float(), head.weight, head.bias)
        model.fc = head
        actual = fast_inference(model, arithmetic="bf16")(images)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
    # Not the float32 model, and not logits rounded to 8 bits.
    assert not torch.equal(actual, fast_inference(model)(images))
    assert not torch.equal(actual, actual.bfloat16().float())


def test_a_single_linear_layer_is_the_head():
    with rng.global_state(0, "init"):
        model = nn.Linear(6, 3)
    x = rng.normal((5, 6, 1, 1), 0, "x")
    wrapped = nn.Sequential(nn.Flatten(), model)
    assert torch.equal(fast_inference(wrapped, arithmetic="bf16")(x), wrapped(x))


@pytest.mark.parametrize("kind", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("mixed", [False, True])
def test_arithmetic_gives_every_flag_back(kind, mixed):
    start = [flag.fp32_precision for flag in FLAGS]
    try:
        if mixed:  # the newer flags alone: the older getters then refuse to answer
            torch.backends.cuda.matmul.fp32_precision = "tf32"
        before = [flag.fp32_precision for flag in FLAGS]
        with pytest.raises(KeyError), arithmetic(kind):
            assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == (kind == "tf32")
            assert (
                torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (kind == "tf32")
            )
            assert torch.is_autocast_enabled("cpu") == (kind == "bf16")
            raise KeyError
        assert [flag.fp32_precision for flag in FLAGS] == before
        assert not torch.is_autocast_enabled("cpu")
        if not mixed:
            assert torch.backends.cuda.matmul.allow_tf32 is False
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
        for flag, precision in zip(FLAGS, start, strict=True):
            flag.fp32_precision = precision


def test_an_unknown_arithmetic_is_refused(resnet):
    with pytest.raises(ConfigError, match="bf61"):
        fast_inference(resnet, arithmetic="bf61")
    with pytest.raises(ConfigError, match="fp16"), arithmetic("fp16"):
        pass


def test_weights_hash_is_sha256_of_names_types_shapes_and_bytes():
    model = nn.Linear(2, 1)
    model.weight.data = torch.tensor([[1.0, -2.0]])
    model.bias.data = torch.tensor([0.5])
    text = b"bias torch.float32 (1,)\n" + b"\x00\x00\x00\x3f"
    text += b"weight torch.float32 (1, 2)\n" + b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert weights_hash(model) == hashlib.sha256(text).hexdigest()


def test_weights_hash_sees_every_weight_buffer_and_type_but_no_memory_layout(resnet):
    hashes = {weights_hash(resnet), weights_hash(fast_inference(resnet))}
    hashes.add(weights_hash(fast_inference(resnet, arithmetic="bf16")))
    assert len(hashes) == 3
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = weights_hash(model)
    model.to(memory_format=torch.channels_last)
    assert weights_hash(model) == before
    model[1].running_var[2] += 1e-6
    assert weights_hash(model) != before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile warns about its own parts
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_compiled_logits_are_the_eager_ones_up_to_rounding(kind, images):
    with rng.global_state(3, "init"):
        model = randomised(
            nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 5)
            )
        )
    compiled = fast_inference(model, arithmetic=kind, compile=True)
    assert weights_hash(compiled) == weights_hash(fast_inference(model, arithmetic=kind))
    with torch.no_grad():
        actual, expected = compiled(images), fast_inference(model, arithmetic=kind)(images)
    torch.testing.assert_close(
        actual, expected, rtol=0, atol=1e-5 if kind == "fp32" else 2e-2 * expected.abs().max().item()
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile warns about its own parts
def test_compiled_code_holds_the_weights_as_constants(images):
    from torch._inductor.utils import run_and_get_code

    with rng.global_state(3, "init"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()).eval()
    compiled = fast_inference(model, compile=True)
    with torch.no_grad():
        _, [code] = run_and_get_code(compiled, images)
    assert "_frozen_param" in code and "extern_kernels.convolution(" not in code


@pytest.mark.parametrize(
    ("device", "kind", "expected"),
    [
        ("cuda", "fp32", torch.contiguous_format),  # where channels last was measured to be slower
        ("cuda", "tf32", torch.channels_last),
        ("cuda", "bf16", torch.channels_last),
        ("cpu", "fp32", torch.channels_last),
    ],
)
def test_the_layout_is_the_faster_one(device, kind, expected):
    assert inference_layout(torch.device(device), kind) == expected
