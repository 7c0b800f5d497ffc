"""The network of most tests: a ResNet-18 a few channels wide, for images of 8 by 8 pixels."""

from robust_transfer.models import build_model
from robust_transfer.models.normalized import Classifier


def small_model(num_classes: int, *, width: int = 2) -> Classifier:
    names = [str(k) for k in range(num_classes)]
    return build_model(
        "resnet18_small",
        num_classes=num_classes,
        class_names=names,
        image_size=8,
        width=width,
        normalize="none",
        seed=0,
    )
