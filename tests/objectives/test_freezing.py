import copy

import pytest
import torch

from counted_steps import PROGRESS, step_of
from robust_transfer.core.choices import FREEZE_LEVELS
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build
from robust_transfer.objectives.freezing import frozen_tensors
from small_model import small_model
from training_jobs import make_method


def frozen_by_hand(name, level):
    kept = ("conv1.", "bn1.", *(f"layer{i}." for i in range(1, level + 1))) if level else ()
    return name.removeprefix("backbone.").startswith(kept) if kept else False


@pytest.mark.parametrize("level", range(5))
def test_levels_are_the_named_stages_of_a_resnet_below_any_prefix(level):
    model = small_model(3)
    names = [f"backbone.{name}" for name in model.backbone.state_dict()]
    expected = {name for name in names if frozen_by_hand(name, level)}
    found = frozen_tensors(model, level)
    assert {name for name in found if name.startswith("backbone.")} == expected
    below = frozen_tensors(torch.nn.ModuleDict({"online": model, "other": torch.nn.Linear(2, 2)}), level)
    assert below == [f"online.{name}" for name in found]


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
    with pytest.raises(ConfigError, match="in which no stages can be told"):
        build(make_method("st", freeze="layer1")).training_model(torch.nn.Linear(2, 2), {})
