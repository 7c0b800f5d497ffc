"""Every classifier that timm builds, without dropout: head, image size and statistics from its own table."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, cast

from torch import nn

from robust_transfer.config.model import TIMM, ModelConfig
from robust_transfer.core.errors import ConfigError, did_you_mean


@cache
def table_entry(name: str) -> Any:
    """Return timm's table entry of a network (its `PretrainedCfg`).

    Raises
    ------
    ConfigError : timm is not installed, does not have the network, or the network has not one classifier
    """
    try:
        import timm
    except ImportError:
        raise ConfigError("model=timm needs the package timm", "pip install robust-transfer[timm]") from None
    if "." in name:
        hint = f"model.name={name.split('.')[0]} pretrain.weights=timm:{name}"
        raise ConfigError(f"model.name={name} names weights (expected a network)", hint)
    entry = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    if entry is None:
        raise ConfigError(f"timm has no network '{name}'", did_you_mean(name, timm.list_models()))
    if not isinstance(entry.classifier, str):
        raise ConfigError(f"timm's {name} has not one linear classifier (found {entry.classifier})")
    return entry


def classifier(name: str) -> str:
    """Return the dotted name of the last layer."""
    return cast(str, table_entry(name).classifier)


def hub_of(name: str) -> str:
    """Return the hub's repository of timm's weights NAME.TAG.

    Raises
    ------
    ConfigError : as in `table_entry`, or timm has no such weights
    """
    table_entry(name.split(".")[0])
    import timm

    names = timm.list_pretrained(f"{name.split('.')[0]}.*")
    entry = timm.get_pretrained_cfg(name, allow_unregistered=False) if name in names else None
    if entry is None or not entry.hf_hub_id:
        raise ConfigError(f"timm has no weights '{name}' on the hub", did_you_mean(name, names))
    return f"{entry.hf_hub_id}{name}" if entry.hf_hub_id.endswith("/") else entry.hf_hub_id


def own_values(model: ModelConfig) -> ModelConfig:
    """Put timm's image size and statistics where none are given; networks of others stay as they are."""
    if not model.arch.startswith(TIMM):
        return model
    entry = table_entry(model.arch.removeprefix(TIMM))
    normalize = [list(entry.mean), list(entry.std)] if model.normalize == "own" else model.normalize
    size = model.image_size or entry.input_size[-1]
    return dataclasses.replace(model, image_size=size, normalize=normalize)


def build(name: str, num_classes: int, image_size: int | None) -> nn.Module:
    """Build a network with random weights; its random layers are off, as their draws would have no key.

    Raises
    ------
    ConfigError : as in `table_entry`, or an image size that the network cannot have
    """
    import timm

    sized: dict[str, Any] = (
        {"img_size": image_size} if image_size and table_entry(name).fixed_input_size else {}
    )
    try:
        network = timm.create_model(name, pretrained=False, num_classes=num_classes, **sized)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"timm cannot build {name} for {image_size} pixels ({error})") from error
    for module in network.modules():
        if type(module).__name__ == "DropPath":
            cast(Any, module).drop_prob = 0.0
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return network
