"""The networks of the literature on CIFAR: ResNet-20 to 110, wide and pre-activation residual networks.

B batch, C channels, H/W pixels, K classes, D features.

References
----------
He et al. 2016, arXiv:1512.03385, section 4.2 (ResNet-20 to 110) and arXiv:1603.05027 (pre-activation);
Zagoruyko & Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

Builder = Callable[[int, int], nn.Module]


def _conv3x3(planes_in: int, planes: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(planes_in, planes, kernel_size=3, stride=stride, padding=1, bias=False)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class _PaddedShortcut(nn.Module):
    """The shortcut without weights: every other pixel, channels filled up with zeros (option A)."""

    def __init__(self, more_planes: int) -> None:
        super().__init__()
        self.more_planes = more_planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.more_planes // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.more_planes - before))


class CifarResNet(nn.Module):
    """ResNet of depth 6n + 2 with three stages of 16, 32 and 64 channels.

    Parameters
    ----------
    padded : shortcuts between stages without weights, as in the paper (option A); else convolutions with
        BatchNorm (option B), as in the code of Cohen et al. 2019 and its heirs
    """

    def __init__(self, depth: int, padded: bool, num_classes: int) -> None:
        super().__init__()
        count = (depth - 2) // 6
        self.conv1 = _conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(16, 16, count, padded)
        self.layer2 = self._stage(16, 32, count, padded)
        self.layer3 = self._stage(32, 64, count, padded)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, num_classes)
        _initialise(self)

    @staticmethod
    def _stage(planes_in: int, planes: int, count: int, padded: bool) -> nn.Sequential:
        if planes_in == planes:
            return nn.Sequential(*(BasicBlock(planes, planes) for _ in range(count)))
        convolution = nn.Conv2d(planes_in, planes, kernel_size=1, stride=2, bias=False)
        weighted = nn.Sequential(convolution, nn.BatchNorm2d(planes))
        shortcut = _PaddedShortcut(planes - planes_in) if padded else weighted
        first = BasicBlock(planes_in, planes, 2, shortcut)
        return nn.Sequential(first, *(BasicBlock(planes, planes) for _ in range(count - 1)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) normalised images to (B, K) logits, or (B, D) features where `fc` is Identity."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        output: torch.Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return output


class _WideBlock(nn.Module):
    """Two convolutions, each after its BatchNorm; a shortcut with weights starts after the first one."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(planes_in)
        self.conv1 = _conv3x3(planes_in, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes)
        self.convShortcut = None
        if planes_in != planes:
            self.convShortcut = nn.Conv2d(planes_in, planes, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(before)
        out: torch.Tensor = shortcut + self.conv2(F.relu(self.bn2(self.conv1(before))))
        return out


class _WideStage(nn.Module):
    def __init__(self, planes_in: int, planes: int, count: int, stride: int) -> None:
        super().__init__()
        first = _WideBlock(planes_in, planes, stride)
        self.layer = nn.Sequential(first, *(_WideBlock(planes, planes, 1) for _ in range(count - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """WRN-depth-factor without dropout, under the keys of its files in this field."""

    def __init__(self, depth: int, factor: int, num_classes: int) -> None:
        super().__init__()
        count, planes = (depth - 4) // 6, [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = _conv3x3(3, planes[0])
        self.block1 = _WideStage(planes[0], planes[1], count, stride=1)
        self.block2 = _WideStage(planes[1], planes[2], count, stride=2)
        self.block3 = _WideStage(planes[2], planes[3], count, stride=2)
        self.bn1 = nn.BatchNorm2d(planes[3])
        self.fc = nn.Linear(planes[3], num_classes)
        _initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) normalised images to (B, K) logits, or (B, D) features where `fc` is Identity."""
        x = self.block3(self.block2(self.block1(self.conv1(images))))
        x = F.adaptive_avg_pool2d(F.relu(self.bn1(x)), 1)
        output: torch.Tensor = self.fc(torch.flatten(x, 1))
        return output


class _PreActBlock(nn.Module):
    """Two convolutions, each after its BatchNorm.

    activated : a shortcut with weights starts after the first BatchNorm, else at the block's input
    """

    def __init__(self, planes_in: int, planes: int, stride: int, activated: bool) -> None:
        super().__init__()
        self.activated = activated
        self.bn1 = nn.BatchNorm2d(planes_in)
        self.conv1 = _conv3x3(planes_in, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes)
        self.downsample = None
        if stride != 1 or planes_in != planes:
            convolution = nn.Conv2d(planes_in, planes, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(convolution)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = F.relu(self.bn1(x))
        start = before if self.activated else x
        shortcut = x if self.downsample is None else self.downsample(start)
        out: torch.Tensor = shortcut + self.conv2(F.relu(self.bn2(self.conv1(before))))
        return out


class PreActResNet18(nn.Module):
    """Pre-activation ResNet-18 for small images, with a last BatchNorm (`bn`) before the pooling.

    Its files exist in two versions that their tensors do not tell apart, see `_PreActBlock`. pytorch-cifar's
    has no last BatchNorm; its files are refused, as a tensor is missing.
    """

    def __init__(self, activated: bool, num_classes: int, width: int) -> None:
        super().__init__()
        planes = [width, width, 2 * width, 4 * width, 8 * width]
        self.conv1 = _conv3x3(3, width)
        for number in (1, 2, 3, 4):
            stride = 1 if number == 1 else 2
            first = _PreActBlock(planes[number - 1], planes[number], stride, activated)
            second = _PreActBlock(planes[number], planes[number], 1, activated)
            self.add_module(f"layer{number}", nn.Sequential(first, second))
        self.bn = nn.BatchNorm2d(planes[4])
        self.fc = nn.Linear(planes[4], num_classes)
        _initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) normalised images to (B, K) logits, or (B, D) features where `fc` is Identity."""
        x = self.conv1(images)
        for number in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{number}")(x)
        x = F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1)
        output: torch.Tensor = self.fc(torch.flatten(x, 1))
        return output


def _resnet(depth: int, padded: bool, num_classes: int, width: int) -> nn.Module:
    return CifarResNet(depth, padded, num_classes)


def _wide(depth: int, factor: int, num_classes: int, width: int) -> nn.Module:
    return WideResNet(depth, factor, num_classes)


cifar_resnet20: Builder = partial(_resnet, 20, False)
cifar_resnet32: Builder = partial(_resnet, 32, False)
cifar_resnet44: Builder = partial(_resnet, 44, False)
cifar_resnet56: Builder = partial(_resnet, 56, False)
cifar_resnet110: Builder = partial(_resnet, 110, False)
cifar_resnet20_a: Builder = partial(_resnet, 20, True)
cifar_resnet32_a: Builder = partial(_resnet, 32, True)
cifar_resnet44_a: Builder = partial(_resnet, 44, True)
cifar_resnet56_a: Builder = partial(_resnet, 56, True)
cifar_resnet110_a: Builder = partial(_resnet, 110, True)
wideresnet16_4: Builder = partial(_wide, 16, 4)
wideresnet28_10: Builder = partial(_wide, 28, 10)
wideresnet34_10: Builder = partial(_wide, 34, 10)
wideresnet70_16: Builder = partial(_wide, 70, 16)
preactresnet18: Builder = partial(PreActResNet18, False)
preactresnet18_v2: Builder = partial(PreActResNet18, True)
