import dataclasses

import pytest
import torch

from robust_transfer.config.methods import NoneConfig, StandardConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build
from robust_transfer.objectives.objective import classify, widen
from training_jobs import METHODS, make_method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_builds_what_its_spec_names(name):
    config = make_method(name)
    assert type(build(config)).__name__ == config.spec.builder.partition(":")[2]


def test_a_config_without_objective_is_refused_by_name():
    with pytest.raises(ConfigError, match="no objective is built from a NoneConfig"):
        build(NoneConfig("none"))

    with pytest.raises(ConfigError, match="no objective is built from a dict"):
        build({})

    class Misspelt(StandardConfig):
        spec = dataclasses.replace(
            StandardConfig.spec, builder="robust_transfer.objectives.standard:Standrad"
        )

    with pytest.raises(ConfigError, match=r"Misspelt .*no 'Standrad' in module"):
        build(Misspelt(**dataclasses.asdict(make_method("st"))))


def test_a_method_derived_from_another_does_not_pass_for_it():
    with pytest.raises(TypeError, match="Silent declares no spec"):

        class Silent(StandardConfig):
            pass


def test_widen_brings_up_to_float32_and_leaves_float64():
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    assert [widen(torch.ones(1, dtype=kind)).dtype for kind in kinds] == [torch.float32] * 3 + [torch.float64]


def test_classify_refuses_features():
    with pytest.raises(ConfigError, match="without classes"):
        classify(torch.empty(2, 0), torch.zeros(2, dtype=torch.int64))
