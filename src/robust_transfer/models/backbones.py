"""Residual networks under torchvision's key names, among them one small enough for a CPU.

B batch, C channels, H/W pixels, K classes, D features.

References
----------
He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
"""

from __future__ import annotations

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from robust_transfer.core.errors import ConfigError, did_you_mean

DEFAULT_WIDTH = 64
ARCHITECTURES = ("resnet18", "resnet18_small", "resnet50")


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
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(in_planes: int, planes: int, *, stride: int) -> nn.Sequential:
    downsample = None
    if stride != 1 or in_planes != planes:
        shortcut = nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False)
        downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes))
    return nn.Sequential(BasicBlock(in_planes, planes, stride, downsample), BasicBlock(planes, planes))


def check_arch(arch: str, width: int = DEFAULT_WIDTH) -> None:
    """Raise ConfigError unless (arch, width) names a network that can be built."""
    if arch not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture '{arch}'", did_you_mean(arch, ARCHITECTURES))
    if width != DEFAULT_WIDTH and arch != "resnet18_small":
        raise ConfigError(
            f"model.width={width} is not possible for {arch} (expected {DEFAULT_WIDTH})",
            "only resnet18_small has a width: model=resnet18_small",
        )
    if width < 1:
        raise ConfigError(f"model.width is {width}, expected at least 1")


def num_features(arch: str, width: int = DEFAULT_WIDTH) -> int:
    """Return D, the length of the vector that the head reads."""
    check_arch(arch, width)
    return {"resnet18": 512, "resnet50": 2048, "resnet18_small": 8 * width}[arch]


def backbone(arch: str, num_classes: int, width: int = DEFAULT_WIDTH) -> nn.Module:
    """Build a network from normalised images (B, 3, H, W) to logits (B, K), randomly initialised.

    Parameters
    ----------
    arch : one of ARCHITECTURES
    num_classes : K; 0 gives the features (B, D): `fc` is Identity and has no keys
    width : channels of the first stage, for resnet18_small only

    Raises
    ------
    ConfigError : unknown architecture, or a width that it does not have
    """
    check_arch(arch, width)
    head_size = max(num_classes, 1)
    network: nn.Module
    if arch == "resnet18_small":
        network = SmallResNet(head_size, width)
    else:
        network = torchvision.models.get_model(arch, weights=None, num_classes=head_size)
    if num_classes == 0:
        network.fc = nn.Identity()
    return network
