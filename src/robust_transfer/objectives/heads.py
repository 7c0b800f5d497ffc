"""The small networks behind a backbone that only self-supervised training has."""

# B local batch, D features of the projection, C channels, H/W pixels

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from robust_transfer.core import rng
from robust_transfer.models.backbones import num_features


class ContrastiveModel(nn.Module):
    """A feature extractor with a head behind it that only pre-training uses."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, D) projections."""
        projections: Tensor = self.head(self.features(images))
        return projections


class FeaturesAndLogits(nn.Module):
    """A classifier that gives its features too; `joined` is the classifier again."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.head = classifier.get_submodule(f"backbone.{classifier.head_name}")
        self.features = headless(classifier)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) images to features (B, D) and logits (B, K)."""
        features = self.features(images)
        return features, self.head(features)

    def joined(self) -> nn.Module:
        """Return the classifier: other modules, the same tensors."""
        classifier = sharing_copy(self.features)
        classifier.set_submodule(f"backbone.{classifier.head_name}", self.head)
        return classifier


def headless(model: nn.Module) -> nn.Module:
    """Take the last layer away, in place, so that a classifier gives features (B, D)."""
    model.set_submodule(f"backbone.{model.head_name}", nn.Identity())
    return model


def sharing_copy(model: nn.Module) -> nn.Module:
    """Return the same network as other modules with the same tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def mlp(sizes: Sequence[int], *, bias: Sequence[bool], norm: bool, last_norm: bool = False) -> nn.Sequential:
    """Build linear layers of `sizes` with ReLU between them.

    Parameters
    ----------
    bias : whether each linear layer has a bias
    norm : BatchNorm before every ReLU
    last_norm : BatchNorm after the last layer too
    """
    layers: list[nn.Module] = []
    for number, ((inputs, outputs), biased) in enumerate(zip(pairwise(sizes), bias, strict=True)):
        last = number == len(bias) - 1
        layers.append(nn.Linear(inputs, outputs, bias=biased))
        if last_norm if last else norm:
            layers.append(nn.BatchNorm1d(outputs))
        if not last:
            layers.append(nn.ReLU(True))
    return nn.Sequential(*layers)


def attached(
    model: nn.Module, seed: int, build: Callable[[int], nn.Module], key: str = "projection"
) -> nn.Module:
    """Build a head for `model`'s features, by build(number of features), drawn under (seed, key)."""
    assert model.num_classes == 0, "a projection is trained on features"
    with rng.global_state(seed, key):
        head = build(num_features(str(model.arch), cast(int, model.width)))
    parameter = next(model.parameters())
    return head.to(parameter.device, parameter.dtype)


def zero_residuals(model: nn.Module) -> None:
    """Let every residual block begin as its shortcut: the scale of its last BatchNorm becomes 0.

    Goyal et al. 2017 (arXiv 1706.02677), section 5.1; torchvision's `zero_init_residual`.
    """
    for block in model.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)
        elif isinstance(block, BasicBlock):
            nn.init.zeros_(block.bn2.weight)
        elif hasattr(block, "zero_init_last"):  # timm's
            cast("Callable[[], None]", block.zero_init_last)()
