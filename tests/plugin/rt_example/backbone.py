"""The backbone: a network whose last layer is the linear `fc`."""

from collections import OrderedDict

from torch import nn


def two_layers(num_classes, width):
    """Build a convolution and a head."""
    layers = [("conv", nn.Conv2d(3, width, 3)), ("relu", nn.ReLU()), ("pool", nn.AdaptiveAvgPool2d(2))]
    layers += [("flat", nn.Flatten()), ("fc", nn.Linear(4 * width, num_classes))]
    return nn.Sequential(OrderedDict(layers))
