import pytest
import torch

from robust_transfer.training.precision import arithmetic, autocast


@pytest.mark.parametrize(
    ("precision", "convolutions"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "tf32")]
)
def test_flags_hold_inside_and_come_back(precision, convolutions):
    def flags():
        cudnn = torch.backends.cudnn
        return cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision, cudnn.benchmark

    before = flags()
    with pytest.raises(KeyError), arithmetic(precision):
        assert flags() == (convolutions, "ieee", True)
        raise KeyError
    assert flags() == before


def test_autocast_is_bfloat16_for_bf16_alone():
    weight, x = torch.ones(2, 2), torch.ones(2, 2)
    for precision, kind in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, torch.device("cpu")):
            assert (x @ weight).dtype == kind
