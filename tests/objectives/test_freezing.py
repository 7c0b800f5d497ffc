import copy

import pytest
import torch

from counted_steps import PROGRESS, step_of
from robust_transfer.core.choices import FREEZE_LEVELS
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build, frozen_parameters
from training_jobs import make_method

STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")


def frozen_by_hand(name, level):
    kept = ("conv1.", "bn1.", *(f"layer{i}." for i in range(1, level + 1))) if level else ()
    return name.removeprefix("backbone.").startswith(kept) if kept else False


@pytest.mark.parametrize("level", range(5))
def test_names_are_matched_by_the_outermost_stage_below_any_prefix(level):
    names = [
        "layer2.0.conv1.weight",
        "conv1.weight",
        "bn1.bias",
        "fc.bias",
        "layer10.0.weight",
        "layer4.1.bn2.bias",
    ]
    expected = [n for n in names if n != "layer10.0.weight" and frozen_by_hand(n, level)]
    assert frozen_parameters(names, level) == expected
    below = [f"online.backbone.{name}" for name in names]
    assert frozen_parameters(below, level) == [f"online.backbone.{name}" for name in expected]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("level", [1, 3])
def test_frozen_stages_stay_to_the_bit_and_the_rest_learns(level, statistics):
    step, batch = step_of("at", freeze=FREEZE_LEVELS[level], freeze_statistics=statistics, weight_decay=0.1)
    before = copy.deepcopy(step.trained.state_dict())
    for _ in range(2):
        step(batch, PROGRESS)
    parameters = dict(step.trained.named_parameters())
    for name, value in step.trained.state_dict().items():
        frozen = frozen_by_hand(name, level) and (name in parameters or statistics)
        assert torch.equal(value, before[name]) == frozen, name


def test_all_but_the_head_is_the_linear_method_bit_by_bit():
    linear, batch = step_of("st_linear")
    frozen, _ = step_of("st", freeze="layer4")
    for step in (linear, frozen):
        for _ in range(2):
            step(batch, PROGRESS)
    for found, wanted in zip(
        frozen.trained.state_dict().values(), linear.trained.state_dict().values(), strict=True
    ):
        assert torch.equal(found, wanted)


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(ConfigError, match="st_linear freezes by itself"):
        make_method("st_linear", freeze="layer1").check("finetune")
    with pytest.raises(ConfigError, match="of random weights"):
        make_method("st", freeze="layer1").check("pretrain")
    with pytest.raises(ConfigError, match="without stages of that name"):
        build(make_method("st", freeze="layer1")).training_model(torch.nn.Linear(2, 2), {})
