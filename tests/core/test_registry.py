from dataclasses import dataclass

import pytest

from robust_transfer.core import registry as module
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.registry import Registry


@dataclass
class AppleConfig:
    size: int


@dataclass
class SmallAppleConfig(AppleConfig):
    pass


@dataclass
class PearConfig:
    size: int


def make() -> Registry[str]:
    registry: Registry[str] = Registry("fruit", "robust_transfer.fruits")
    registry.register(AppleConfig)(lambda config, suffix="": f"apple {config.size}{suffix}")
    return registry


def test_builds_by_the_exact_type_and_passes_arguments_on():
    assert make().build(AppleConfig(3), suffix="!") == "apple 3!"
    with pytest.raises(ConfigError, match="no fruit is built from a SmallAppleConfig"):
        make().build(SmallAppleConfig(3))


def test_unknown_config_names_the_nearest_one():
    @dataclass
    class AppelConfig:
        pass

    with pytest.raises(ConfigError) as caught:
        make().build(AppelConfig())
    assert caught.value.hints == ("did you mean 'AppleConfig'?",)


def test_a_type_has_one_builder():
    with pytest.raises(AssertionError, match="AppleConfig has two builders"):
        make().register(AppleConfig)


def test_entry_points_bring_parts_from_elsewhere_when_they_are_needed(monkeypatch):
    registry = make()
    loads = []

    class Entry:
        def load(self):
            loads.append(1)
            registry.register(PearConfig)(lambda config: f"pear {config.size}")

    monkeypatch.setattr(module, "entry_points", lambda group: [Entry()] if group.endswith("fruits") else [])
    registry.build(AppleConfig(1))
    assert not loads
    assert registry.build(PearConfig(2)) == "pear 2"
    assert registry.build(PearConfig(4)) == "pear 4" and loads == [1]
