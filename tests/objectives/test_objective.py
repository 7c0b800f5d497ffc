import dataclasses
import re
from pathlib import Path

import pytest
import torch

from robust_transfer.config.methods import NoneConfig, StandardConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build
from robust_transfer.objectives.objective import classify, widen
from training_jobs import METHODS, make_method

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_builds_what_its_spec_names(name):
    config = make_method(name)
    assert type(build(config)).__name__ == config.spec.builder.partition(":")[2]


def test_every_method_has_a_row_in_the_documentation_with_its_cost():
    text = (ROOT / "docs" / "methods.md").read_text()
    tables = text.split("## Options of a method")[0].splitlines()
    rows = [line.split(" | ") for line in tables if line.startswith("| `")]
    costs = {name: row[3] for row in rows for name in re.findall("`(.*?)`", row[0])}
    for name in METHODS:
        config = make_method(name)
        formula = costs[name].split(",")[0].replace("²", "**2").replace(" r", " * r").replace(" (", " * (")
        symbols = {
            "k": getattr(config, "attack", config).__dict__.get("num_steps"),
            "m": getattr(config, "num_noise_samples", None),
            "n": getattr(config, "small_views", None),
            "r": getattr(config, "small_side", None),
        }
        found = eval(re.sub(r"(\d)([km])", r"\1 * \2", formula), symbols)
        assert found == pytest.approx(config.spec.passes_per_image(config)), name
    for path in [*(ROOT / "conf/finetune").glob("*.yaml"), *(ROOT / "conf/pretrain").glob("*.yaml")]:
        name = path.stem.removesuffix("_plain")
        assert name == "_base" or re.search(rf"`(\S*=)?{name}`", text), path


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
