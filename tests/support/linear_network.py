"""Two classes and a plane between them: what an attack can reach is known in closed form."""

import torch
from torch import nn


class Plane(nn.Module):
    """Logits (w x, -w x) of images of 12 pixels; notes the mode and what has a gradient, call by call."""

    def __init__(self):
        super().__init__()
        weights = torch.linspace(-1, 1.3, 12, dtype=torch.float64)
        self.weight = nn.Parameter(torch.stack((weights, -weights)))
        self.modes, self.trained, self.inputs = [], [], []

    def forward(self, images):
        self.modes.append(self.training)
        self.trained.append(self.weight.requires_grad)
        self.inputs.append(images.detach())
        return images.flatten(1) @ self.weight.T

    def towards_class_0(self):
        """The unit vector (3, 2, 2) along which the first logit grows fastest."""
        row = self.weight.detach()[0]
        return (row / row.norm()).view(3, 2, 2)


def grey(count):
    """Images in the middle of the box, slightly apart: an attack of radius 0.3 does not reach its sides."""
    return 0.5 + torch.linspace(-0.05, 0.05, count * 12, dtype=torch.float64).view(count, 3, 2, 2)
