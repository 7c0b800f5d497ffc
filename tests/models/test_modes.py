import pytest
import torch
from torch import nn

from robust_transfer.models import modes


@pytest.fixture
def frozen_norm():
    """A model in train mode whose BatchNorm is frozen, as in fine-tuning."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    net[1].eval()
    net[0].bias.requires_grad_(False)
    return net


def flags(model):
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


def test_modes_and_flags_come_back_one_by_one(frozen_norm):
    before = flags(frozen_norm)
    with (
        pytest.raises(RuntimeError),
        modes.eval_mode(frozen_norm, frozen_norm),
        modes.no_param_grad(frozen_norm),
    ):
        assert not any(any(part) for part in flags(frozen_norm))
        raise RuntimeError
    assert flags(frozen_norm) == before
    assert frozen_norm.training and not frozen_norm[1].training


def test_moved_state_is_named_and_set_back(frozen_norm):
    frozen_norm[1].train()
    before = {name: tensor.clone() for name, tensor in frozen_norm.state_dict().items()}
    with modes.kept_state(frozen_norm) as moved:
        frozen_norm(torch.rand(4, 3, 2, 2))
        with torch.no_grad():
            frozen_norm[0].weight.add_(1)
    assert set(moved) == {"0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen_norm.state_dict().items())


def test_replaced_buffers_are_put_back(frozen_norm):
    buffer = frozen_norm[1].running_mean
    with modes.kept_state(frozen_norm) as moved:
        frozen_norm[1].running_mean = torch.ones(2)
    assert moved == ["1.running_mean"] and frozen_norm[1].running_mean is buffer
