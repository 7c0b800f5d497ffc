"""A small network trained on generated images, by the loop alone: no stage, no files of images."""

import json

import torch

from robust_transfer.core import rng
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import single
from robust_transfer.objectives import build
from robust_transfer.training.loop import fit
from small_model import small_model
from toy_methods import toy
from training_jobs import make_method, make_runtime, references_like

NUM_IMAGES, BATCH = 20, 4
STEPS_PER_EPOCH = NUM_IMAGES // BATCH


def pixels(index, view):
    keyed = rng.generator(0, "pixels", index, view)
    return torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=keyed)


def open_batches(first, last, *, num_views=1):
    """Batches as a function of the step alone, drawn here rather than by the loaders."""
    for step in range(first, last):
        epoch, batch = divmod(step, STEPS_PER_EPOCH)
        order = torch.randperm(NUM_IMAGES, generator=rng.generator(0, "order", epoch))
        indices = order[batch * BATCH : (batch + 1) * BATCH]
        images = tuple(torch.stack([pixels(int(i), view) for i in indices]) for view in range(num_views))
        yield Batch(images, indices % 3, indices, epoch)


def train(
    method,
    directory,
    *,
    batches=open_batches,
    model=None,
    runtime=None,
    validate=None,
    context=None,
    **changes,
):
    """Train a small network on generated images; returns it and the totals."""
    directory.mkdir(exist_ok=True)
    settings = {"batch_size": BATCH, "epochs": 2, **changes}
    config = make_method(method, **settings) if isinstance(method, str) else toy(method, **settings)
    objective = build(config)
    model = model or small_model(3 if config.spec.needs_labels else 0)
    trained, totals = fit(
        model,
        objective,
        lambda first, last: batches(first, last, num_views=len(objective.views(8, 0))),
        config=config,
        runtime=runtime or make_runtime(),
        context=context or single("cpu"),
        directory=directory,
        batches_per_epoch=STEPS_PER_EPOCH,
        references=references_like(config, model),
        validate=validate,
    )
    return trained, totals


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_equal_models(actual, expected):
    for name, value in expected.state_dict().items():
        assert torch.equal(actual.state_dict()[name], value), name


class Crash(Exception):
    pass


def crashing_at(step):
    def batches(first, last, *, num_views):
        for number, batch in enumerate(open_batches(first, last, num_views=num_views), start=first):
            if number == step:
                raise Crash
            yield batch

    return batches
