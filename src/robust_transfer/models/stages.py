"""The blocks of a network and its four stages, derived from its structure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import nn

from robust_transfer.models.normalized import Classifier

STAGES = 4
HEAD = STAGES + 1


def named_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return the repeated parts of a network in order: residual blocks, transformer layers.

    They are the innermost members of a Sequential or ModuleList with two layers of weights or more each.
    """
    blocks: dict[str, nn.Module] = {}
    for name, container in network.named_modules():
        if isinstance(container, nn.Sequential | nn.ModuleList):
            for key, child in container.named_children():
                if _is_block(child):
                    blocks[f"{name}.{key}" if name else key] = child
    return blocks


def _is_block(module: nn.Module) -> bool:
    inside = list(module.modules())
    weighted = [part for part in inside if isinstance(part, nn.Linear | nn.modules.conv._ConvNd)]
    lists = [part for part in inside if isinstance(part, nn.Sequential | nn.ModuleList)]
    nested = any(_is_block(child) for part in lists for child in part.children())
    return len(weighted) > 1 and not isinstance(module, nn.Sequential | nn.ModuleList) and not nested


def stage_of_tensors(model: nn.Module) -> dict[str, int]:
    """Return the stage of each parameter and buffer of a model, 1 to 4; the head, and all else, is 5.

    Three groups of blocks or more (layer1 to layer4 of a ResNet, the stages of a ConvNeXt) are divided into
    the stages, else single blocks (the layers of a ViT). Layers before a group belong to it, the stem to
    the first; layers after the last group, but for the head, belong to the last.
    """
    stages = {name: HEAD for name, _ in _tensors(model)}
    for prefix, part in model.named_modules():
        if isinstance(part, Classifier):
            inner = _stages(part)
            stages.update({f"{prefix}.{name}" if prefix else name: stage for name, stage in inner.items()})
    return stages


def _stages(model: Classifier) -> dict[str, int]:
    blocks = list(named_blocks(model.backbone))
    groups = list(dict.fromkeys(name.rpartition(".")[0] for name in blocks))
    units = [f"backbone.{unit}." for unit in (groups if len(groups) > 2 else blocks)]
    stages: dict[str, int] = {}
    number, following = 0, True
    for name, _ in _tensors(model) if units else ():
        position = next((i for i, unit in enumerate(units) if name.startswith(unit)), None)
        if position is not None:
            number, following = position, False
        elif not following:
            number, following = min(number + 1, len(units) - 1), True
        stages[name] = 1 + STAGES * number // max(len(units), STAGES) if len(units) > 2 else HEAD
    head = f"backbone.{model.head_name}."
    return {name: HEAD if name.startswith(head) else stage for name, stage in stages.items()}


def _tensors(model: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield parameters and buffers module by module, in the order in which they are registered."""
    for prefix, module in model.named_modules():
        own = chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        yield from ((f"{prefix}.{name}" if prefix else name, tensor) for name, tensor in own)
