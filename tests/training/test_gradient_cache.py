"""SimCLR whose batch passes in parts: the gradient is the whole batch's, BatchNorm by parts."""

import copy

import pytest
import torch
from torch import nn

from counted_steps import PROGRESS, SIZE, step_of
from robust_transfer.objectives import build
from robust_transfer.training.gradient_cache import cached_backward
from training_jobs import make_method


class Parted(nn.Module):
    """Passes the parts one after another with gradients: what the cache saves the memory of."""

    def __init__(self, network, part_size):
        super().__init__()
        self.network, self.part_size = network, part_size

    def forward(self, images):
        views = [view.split(self.part_size) for view in images.chunk(2)]
        outputs = [self.network(torch.cat(part)).chunk(2) for part in zip(*views, strict=True)]
        return torch.cat([torch.cat(view) for view in zip(*outputs, strict=True)])


@pytest.mark.parametrize("part_size", [2, 3])
def test_gradients_and_statistics_are_those_of_the_whole_batch_in_parts(part_size):
    step, batch = step_of("simclr")
    network = step.trained.double()
    reference = copy.deepcopy(network)
    step.objective.train_mode(network)
    step.objective.train_mode(reference)
    views = step._parts(batch)[0].views
    views = views._replace(images=tuple(view.double() for view in views.images))
    expected, _ = step.objective(Parted(reference, part_size), views, None, PROGRESS)
    expected.backward()
    loss, metrics = cached_backward(
        lambda model: step.objective(model, views, None, PROGRESS), network, 2, part_size
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12) and "alignment" in metrics
    for (name, found), wanted in zip(network.named_parameters(), reference.parameters(), strict=True):
        if wanted.grad is not None:
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-9, atol=1e-12, msg=name)
    for (name, found), wanted in zip(network.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15, msg=name)


def test_a_micro_batch_of_simclr_is_the_images_that_pass_together(monkeypatch):
    step, batch = step_of("simclr", micro_batch=2)
    passed, forward = [], type(step.trained).forward
    monkeypatch.setattr(
        type(step.trained),
        "forward",
        lambda self, images: passed.append((len(images), torch.is_grad_enabled())) or forward(self, images),
    )
    step(batch, PROGRESS)
    assert passed == [(4, False)] * (SIZE // 2) + [(4, True)] * (SIZE // 2)
    config = make_method("simclr", batch_size=SIZE, micro_batch=2)
    config.check("pretrain")
    assert build(config)
