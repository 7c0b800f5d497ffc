import dataclasses

import pytest
import torch

from robust_transfer.config.methods import FINETUNE, PRETRAIN, TrainingConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import OBJECTIVES, build
from robust_transfer.objectives.objective import classify, widen
from training_jobs import make_method

METHODS = {name: c for name, c in {**PRETRAIN, **FINETUNE}.items() if issubclass(c, TrainingConfig)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_an_objective(name):
    objective = build(make_method(name))
    assert objective.num_views == (2 if name == "simclr" else 1)


def test_every_objective_belongs_to_a_method():
    assert set(OBJECTIVES.names()) == {config_type.__name__ for config_type in METHODS.values()}


def test_a_config_without_objective_is_refused_by_name():
    @dataclasses.dataclass
    class StandardConfigg:
        pass

    with pytest.raises(ConfigError, match="StandardConfigg") as caught:
        build(StandardConfigg())
    assert "did you mean 'StandardConfig'?" in caught.value.hints


def test_widen_brings_up_to_float32_and_leaves_float64():
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    assert [widen(torch.ones(1, dtype=kind)).dtype for kind in kinds] == [torch.float32] * 3 + [torch.float64]


def test_classify_refuses_features():
    with pytest.raises(ConfigError, match="without classes"):
        classify(torch.empty(2, 0), torch.zeros(2, dtype=torch.int64))
