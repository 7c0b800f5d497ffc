"""One training step of a method as the loop takes it, on a small network, and a count of its passes."""

from torch import nn

from robust_transfer.config.model import ModelConfig
from robust_transfer.objectives import Progress
from robust_transfer.training.measure import synthetic_batch, synthetic_step
from training_jobs import make_method, make_runtime

SIZE, IMAGE_SIZE = 6, 8
MODEL = ModelConfig(arch="resnet18_small", width=2, image_size=IMAGE_SIZE, normalize="none")
PROGRESS = Progress(step=3, total=10, epoch=0, steps_per_epoch=5)


def step_of(name, **changes):
    config = make_method(name, batch_size=SIZE, **changes)
    step = synthetic_step(config, MODEL, make_runtime(), device="cpu", num_classes=3)
    return step, synthetic_batch(step, SIZE, IMAGE_SIZE)


class PassCounter:
    """Counts passes of images, in forward passes, at a convolution in the middle of every network.

    A forward pass is 1, the gradient that flows back through the layer 1, that of its weights 1 more.
    """

    def __init__(self, networks):
        self.images = 0.0
        for network in networks:
            convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
            convolutions[len(convolutions) // 2].register_forward_hook(self.forward)
        self.pixels = None

    def forward(self, layer, inputs, output):
        self.pixels = self.pixels or output[0, 0].numel()
        amount = len(output) * output[0, 0].numel() / self.pixels  # smaller views cost less
        self.images += amount
        if output.requires_grad:
            amount *= 1 + layer.weight.requires_grad
            output.register_hook(lambda gradient: self.backward(amount))

    def backward(self, amount):
        self.images += amount
