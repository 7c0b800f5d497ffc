"""A classifier that takes [0, 1] images: normalisation is its first layer.

B batch, C channels, H/W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from robust_transfer.config.model import DEFAULT_WIDTH, check_unit_images
from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.models.backbones import backbone, head_name, num_features

NORMALIZATIONS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "none": ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
}

Normalize = str | Sequence[Sequence[float]]


class ChannelNormalization(nn.Module):
    """Subtract a mean and divide by a standard deviation per channel.

    The buffers follow the model to its device but are not in the state_dict, which keeps torchvision's keys.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) images in [0, 1] to normalised ones of the same shape."""
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """Images (B, 3, H, W), float in [0, 1], to logits (B, K).

    Parameters
    ----------
    network : from normalised images to logits; becomes `.backbone`
    arch, width : how `network` was built, so that it can be built again
    class_names : K names; K = 0 means that the outputs are features
    image_size : side in pixels of the images it was trained on
    mean, std : three numbers each, for images in [0, 1]
    train_sigma : standard deviation of the Gaussian noise it was trained with; None where unknown
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        arch: str,
        width: int,
        class_names: Sequence[str],
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        train_sigma: float | None = None,
    ) -> None:
        super().__init__()
        self.normalize = ChannelNormalization(mean, std)
        self.backbone = network
        self.arch = arch
        self.width = width
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.image_size = image_size
        self.mean = [float(x) for x in mean]
        self.std = [float(x) for x in std]
        self.train_sigma = train_sigma

    @property
    def head_name(self) -> str:
        """Where in `backbone` the linear classifier is."""
        return head_name(self.arch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K), or features (B, D) of a model without classes."""
        output: torch.Tensor = self.backbone(self.normalize(images))
        return output


def resolve_normalize(normalize: Normalize) -> tuple[list[float], list[float]]:
    """Turn a name or two lists of three numbers into (mean, std).

    Raises
    ------
    ConfigError : neither a known name nor two lists of three finite numbers with std > 0
    """
    if isinstance(normalize, str):
        if normalize in NORMALIZATIONS:
            mean, std = NORMALIZATIONS[normalize]
            return list(mean), list(std)
    elif len(normalize) == 2 and all(len(values) == 3 for values in normalize):
        mean, std = ([float(x) for x in values] for values in normalize)
        if all(math.isfinite(x) for x in mean + std) and min(std) > 0:
            check_unit_images(mean, "normalize")
            return mean, std
    raise ConfigError(
        f"normalize={normalize!r} is not a normalisation",
        f"expected {', '.join(NORMALIZATIONS)} or [[mean, mean, mean], [std, std, std]] with std > 0",
    )


def build_model(
    arch: str,
    *,
    num_classes: int,
    class_names: Sequence[str],
    image_size: int,
    width: int = DEFAULT_WIDTH,
    normalize: Normalize = "imagenet",
    seed: int,
) -> Classifier:
    """Build a classifier with weights drawn under (seed, "init").

    Parameters
    ----------
    num_classes : K; 0 gives a network that returns features
    class_names : K names in order of the label
    normalize : "imagenet", "none", "cifar" or [mean, std], each three numbers for [0, 1] images

    Raises
    ------
    ConfigError : unknown architecture or normalisation
    """
    assert len(class_names) == num_classes, "one name per class"
    mean, std = resolve_normalize(normalize)
    with rng.global_state(seed, "init"):
        network = backbone(arch, num_classes, width, image_size)
    return Classifier(
        network,
        arch=arch,
        width=width,
        class_names=class_names,
        image_size=image_size,
        mean=mean,
        std=std,
    )


def replace_head(model: Classifier, *, num_classes: int, class_names: Sequence[str], seed: int) -> Classifier:
    """Give `model`, in place, a new linear head drawn under (seed, "head"); the backbone stays as it is."""
    assert len(class_names) == num_classes, "one name per class"
    parameter = next(model.backbone.parameters())
    length = num_features(model.arch, model.width)
    with rng.global_state(seed, "head"):
        head = nn.Linear(length, num_classes)
    model.backbone.set_submodule(model.head_name, head.to(device=parameter.device, dtype=parameter.dtype))
    model.class_names = list(class_names)
    model.num_classes = num_classes
    return model
