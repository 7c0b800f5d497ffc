"""A network whose outputs follow an image's projection on one direction: what an attack can reach is known.

Dropout and BatchNorm stand before the projection. In eval mode they leave it linear, in train mode not.
"""

from collections import OrderedDict

import torch
from torch import nn

from robust_transfer.models.normalized import NORMALIZATIONS, Classifier
from robust_transfer.objectives.routed_batchnorm import RoutedBatchNorm

FEATURES = 8  # of resnet18_small at width 1, which the network passes for


def line(num_classes):
    """Features (s, 1, 0, ...) of images of 12 pixels with score s; logits (s, -s, -s, ...), where wanted."""
    project, norm = nn.Linear(12, FEATURES), nn.BatchNorm2d(3)
    with torch.no_grad():
        project.weight.zero_()
        project.weight[0] = torch.linspace(-1, 1.3, 12).roll(5)
        project.bias.zero_()
        project.bias[1] = 1
        norm.running_mean += torch.tensor([0.4, 0.5, 0.7])
        norm.running_var *= torch.tensor([0.5, 1.0, 2.0])
        norm.weight.mul_(torch.tensor([1.0, -0.7, 1.3]))
    head = nn.Linear(FEATURES, num_classes, bias=False) if num_classes else nn.Identity()
    if num_classes:
        read_score(head)
    before = {"dropout": nn.Dropout(0.5), "norm": norm, "flatten": nn.Flatten()}
    mean, std = NORMALIZATIONS["none"]
    names = [str(k) for k in range(num_classes)]
    network = nn.Sequential(OrderedDict({**before, "project": project, "fc": head}))
    return Classifier(
        network, arch="resnet18_small", width=1, class_names=names, image_size=2, mean=mean, std=std
    ).double()


@torch.no_grad()
def read_score(head):
    """Let a linear layer behind the features give logits (s, -s, -s, ...)."""
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    head.weight[:, 0] = -1
    head.weight[0, 0] = 1


@torch.no_grad()
def tell_routes_apart(trained):
    """Give the BatchNorms of each route statistics and scales of their own."""
    for layer in trained.modules():
        if isinstance(layer, RoutedBatchNorm) and layer.routes[0].num_features == 3:
            for number, route in enumerate(layer.routes):
                route.running_mean += 0.1 * number
                route.weight *= torch.tensor([1.0, 1 - 0.3 * number, 1 + 0.4 * number])


@torch.no_grad()
def plane(model, route=None):
    """Return direction (3, 2, 2) and offset of the score in eval mode, by BatchNorm's formula."""
    norm, project = model.backbone.norm, model.backbone.project
    if isinstance(norm, RoutedBatchNorm):
        norm = norm.routes[route]
    weight = project.weight[0].view(3, 2, 2)
    if isinstance(norm, nn.Identity):
        return weight.clone(), project.bias[0].clone()
    slope = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - slope * norm.running_mean
    direction = slope.view(3, 1, 1) * weight
    return direction, (shift.view(3, 1, 1) * weight).sum() + project.bias[0]
