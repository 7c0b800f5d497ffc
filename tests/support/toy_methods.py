"""Methods that use what an objective may use, in a few lines each."""

import copy
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from robust_transfer.config.method_spec import PARENT, STEP, MethodSpec
from robust_transfer.config.methods import StandardConfig
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives.objective import Views
from robust_transfer.objectives.standard import Standard
from training_jobs import make_method


def toy(config_type, **changes):
    return config_type(**vars(make_method("st", **changes)))


@dataclass
class ReplayedConfig(StandardConfig):
    """Every batch three times, under noise that stays; the mean of the images trained on is kept."""

    spec = MethodSpec("toy_methods:Replayed", passes_per_image=lambda config: STEP, repeats=lambda config: 3)


class Replayed(Standard):
    def training_model(self, model, references):
        model.register_buffer("carried", torch.zeros(()))
        return model

    def __call__(self, model, batch, noise, progress):
        images = batch.images[0] + 0.1 * noise("replay", 0) + 0.01 * model.carried.to(batch.images[0].dtype)
        model.carried += images.detach().mean()
        return super().__call__(model, batch._replace(images=(images,)), noise, progress)


@dataclass
class AveragedConfig(StandardConfig):
    """The average of the weights is exported."""

    spec = MethodSpec("toy_methods:Averaged", passes_per_image=lambda config: STEP)


class WithAverage(nn.Module):
    def __init__(self, online):
        super().__init__()
        self.online, self.average = online, copy.deepcopy(online).requires_grad_(False)

    def forward(self, images):
        return self.online(images)


class Averaged(Standard):
    def training_model(self, model, references):
        return WithAverage(model)

    def exported_model(self, trained):
        return trained.average

    @contextmanager
    def around_step(self, trained, backward, progress):
        yield
        pairs = zip(trained.average.parameters(), trained.online.parameters(), strict=True)
        for average, weight in pairs:
            average.lerp_(weight, 0.5)


@dataclass
class TaughtConfig(StandardConfig):
    """Cross-entropy, and the teacher's and the parent's logits to stay near to."""

    teacher: str = option("a finished fine-tuning", by_content=True)

    spec = MethodSpec(
        "toy_methods:Taught",
        passes_per_image=lambda config: STEP + 2,
        default_evaluators=lambda config, parent: parent or ("clean",),
        references=lambda config: {"teacher": config.teacher, "start": PARENT},
    )


class Taught(Standard):
    def training_model(self, model, references):
        if references["teacher"].num_classes != model.num_classes:
            raise ConfigError("the teacher has other classes")
        self.references = references
        return model

    def __call__(self, model, batch, noise, progress):
        with torch.no_grad():
            targets = self.references["teacher"](batch.images[0])
            assert not any(module.training for module in self.references["start"].modules())
        logits = model(batch.images[0])
        return (logits - targets).square().mean(), {}


@dataclass
class HookedConfig(StandardConfig):
    """Notes what it is asked for, and in which order."""

    spec = MethodSpec("toy_methods:Hooked", passes_per_image=lambda config: STEP)


class Hooked(Standard):
    def __init__(self, config):
        self.calls = []

    def train_mode(self, trained):
        self.calls.append("train_mode")
        super().train_mode(trained)

    def prepare(self, model, batch, noise, progress):
        self.calls.append("prepare")
        return Views((batch.images[0] / 2,), batch.labels, batch.indices)

    @contextmanager
    def around_step(self, trained, backward, progress):
        self.calls.append("enter")
        self.progress = progress
        self.weights = [parameter.detach().clone() for parameter in trained.parameters()]
        yield
        self.calls.append("leave")
        self.moved = any(
            not torch.equal(now, before)
            for now, before in zip(trained.parameters(), self.weights, strict=True)
        )

    def __call__(self, model, batch, noise, progress):
        self.calls.append("call")
        self.largest = float(batch.images[0].max())
        return super().__call__(model, batch, noise, progress)


@dataclass
class PerturbedWeightsConfig(StandardConfig):
    """AWP's order: the gradient of the whole batch moves the weights before the step and not after it."""

    spec = MethodSpec("toy_methods:PerturbedWeights", passes_per_image=lambda config: 2 * STEP)


class PerturbedWeights(Standard):
    radius = 0.1

    @contextmanager
    def around_step(self, trained, backward, progress):
        backward()
        parameters = list(trained.parameters())
        moves = [self.radius * parameter.grad for parameter in parameters]
        torch._foreach_add_([parameter.data for parameter in parameters], moves)
        yield
        torch._foreach_sub_([parameter.data for parameter in parameters], moves)
