"""Residual networks under torchvision's key names, among them one small enough for a CPU.

B batch, C channels, H/W pixels, K classes, D features.

References
----------
He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import cast

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from robust_transfer.config.model import DEFAULT_WIDTH, TIMM, backbones, check_architecture
from robust_transfer.core.errors import ConfigError


class SmallResNet(nn.Module):
    """ResNet-18 for small images: 3x3 stem with stride 1, no max-pool, `width` channels in the first stage.

    Keys are those of torchvision's resnet18; at width 64 all shapes but the stem's are too.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) normalised images to (B, K) logits, or (B, D) features where `fc` is Identity."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        output: torch.Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return output


def _stage(in_planes: int, planes: int, *, stride: int) -> nn.Sequential:
    downsample = None
    if stride != 1 or in_planes != planes:
        shortcut = nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False)
        downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes))
    return nn.Sequential(BasicBlock(in_planes, planes, stride, downsample), BasicBlock(planes, planes))


def _torchvision(name: str) -> Callable[[int, int], nn.Module]:
    build = getattr(torchvision.models, name)
    return lambda num_classes, width: cast(nn.Module, build(weights=None, num_classes=num_classes))


resnet18, resnet34, resnet50 = (_torchvision(f"resnet{depth}") for depth in (18, 34, 50))
resnet101, resnet152 = (_torchvision(f"resnet{depth}") for depth in (101, 152))
wide_resnet50_2, wide_resnet101_2 = (_torchvision(f"wide_resnet{depth}_2") for depth in (50, 101))
resnext50_32x4d, resnext101_32x8d = _torchvision("resnext50_32x4d"), _torchvision("resnext101_32x8d")
resnext101_64x4d = _torchvision("resnext101_64x4d")
resnet18_small = SmallResNet


def head_name(arch: str) -> str:
    """Return where in a network its linear classifier is: `fc` but for timm's."""
    if arch.startswith(TIMM):
        from robust_transfer.models.timm_networks import classifier

        return classifier(arch.removeprefix(TIMM))
    return "fc"


@cache
def num_features(arch: str, width: int = DEFAULT_WIDTH) -> int:
    """Return D, the length of the vector that the head reads."""
    with torch.device("meta"):
        return cast(nn.Linear, backbone(arch, 1, width).get_submodule(head_name(arch))).in_features


def backbone(
    arch: str, num_classes: int, width: int = DEFAULT_WIDTH, image_size: int | None = None
) -> nn.Module:
    """Build a network from normalised images (B, 3, H, W) to logits (B, K), randomly initialised.

    Parameters
    ----------
    arch : one of `robust_transfer.config.model.backbones()`, those of other packages included, or timm-NAME
    num_classes : K; 0 gives the features (B, D): the head is Identity and has no keys
    width : channels of the first stage, where the architecture has a choice
    image_size : side of the images in pixels, for networks that are built for one (None: their own)

    Raises
    ------
    ConfigError : unknown architecture, a width or size that it does not have, or a network without a linear
        head
    """
    check_architecture(arch, width)
    network = _build(arch, max(num_classes, 1), width, image_size)
    where = head_name(arch)
    head = network.get_submodule(where) if hasattr(network, where.split(".")[0]) else None
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"architecture '{arch}' has no linear layer `{where}` (expected as its last layer)")
    if num_classes == 0:
        network.set_submodule(where, nn.Identity())
    return network


def _build(arch: str, num_classes: int, width: int, image_size: int | None) -> nn.Module:
    if arch.startswith(TIMM):
        from robust_transfer.models.timm_networks import build

        return build(arch.removeprefix(TIMM), num_classes, image_size)
    module, _, function = backbones()[arch].partition(":")
    try:
        builder = cast("Callable[[int, int], nn.Module]", getattr(import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the builder of architecture '{arch}' cannot be imported ({error})") from error
    return builder(num_classes, width)
