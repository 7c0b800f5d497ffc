import pytest
import torch

from robust_transfer.core.numerics import autocast, deterministic, exact_arithmetic, training_arithmetic


@pytest.mark.parametrize(
    ("precision", "convolutions"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "tf32")]
)
def test_flags_hold_inside_and_come_back(precision, convolutions):
    def flags():
        cudnn = torch.backends.cudnn
        return cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision, cudnn.benchmark

    before = flags()
    with pytest.raises(KeyError), training_arithmetic(precision):
        assert flags() == (convolutions, "ieee", True)
        raise KeyError
    assert flags() == before


def test_autocast_is_bfloat16_for_bf16_alone():
    weight, x = torch.ones(2, 2), torch.ones(2, 2)
    for precision, kind in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, torch.device("cpu")):
            assert (x @ weight).dtype == kind


def test_exact_arithmetic_switches_autocast_off_and_gives_it_back():
    a = torch.rand(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact_arithmetic(torch.device("cpu")):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ["mkldnn", "cuda"])
def test_exact_arithmetic_switches_low_precision_products_off_and_gives_them_back(backend):
    """The flags of the device alone: TF32 on a GPU, bf16 inside oneDNN's products on a CPU."""
    matmul = getattr(torch.backends, backend).matmul
    conv = (torch.backends.cudnn if backend == "cuda" else torch.backends.mkldnn).conv
    low = "tf32" if backend == "cuda" else "bf16"
    before = matmul.fp32_precision, conv.fp32_precision
    try:
        matmul.fp32_precision = conv.fp32_precision = low
        with exact_arithmetic(torch.device("cpu" if backend == "mkldnn" else backend)):
            assert (matmul.fp32_precision, conv.fp32_precision) == ("ieee", "ieee")
        assert (matmul.fp32_precision, conv.fp32_precision) == (low, low)
    finally:
        matmul.fp32_precision, conv.fp32_precision = before


def test_deterministic_kernels_are_chosen_without_timing():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    with pytest.raises(KeyError), deterministic():
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
        raise KeyError
    assert (cudnn.benchmark, cudnn.deterministic) == before


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_other_libraries_can_read_the_flags_while_training_sets_them(precision):
    """torch refuses to answer where convolutions and recurrent layers differ."""
    with training_arithmetic(precision):
        assert torch.backends.cudnn.allow_tf32 is (precision != "fp32")
        assert torch.backends.cuda.matmul.allow_tf32 is False
