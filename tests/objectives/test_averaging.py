from dataclasses import replace

import pytest
import torch

from counted_steps import PROGRESS, step_of
from robust_transfer.config.weights import MovingAverage
from robust_transfer.objectives import averaging_decay
from training_jobs import METHODS


def test_decay_is_nothing_then_grows_to_its_limit():
    found = [averaging_decay(step, 0.9, 5) for step in (0, 4, 5, 6, 14, 200)]
    assert found == pytest.approx([0, 0, 1 / 10, 2 / 11, 10 / 19, 0.9])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_average_of_every_method_is_the_formula_and_training_does_not_notice_it(name):
    plain, batch = step_of(name)
    averaged, _ = step_of(name, weight_average=MovingAverage(decay=0.15, start_epochs=0.2))
    expected, average = None, averaged.objective.exported_model(averaged.trained)
    for step in range(4):  # start_epochs are one of five steps
        progress = replace(PROGRESS, step=step, epoch=step // 5)
        plain(batch, progress)
        averaged(batch, progress)
        online = plain.objective.exported_model(plain.trained)
        weights = [p.detach().clone() for p in online.parameters()]
        decay = 0.0 if step < 1 else min(0.15, step / (9 + step))
        old = expected or weights
        expected = [decay * a + (1 - decay) * w for a, w in zip(old, weights, strict=True)]
        for found, wanted in zip(average.parameters(), expected, strict=True):
            torch.testing.assert_close(found.detach(), wanted, rtol=1e-5, atol=1e-6)
        for found, wanted in zip(average.buffers(), online.buffers(), strict=True):
            assert torch.equal(found, wanted) and found is not wanted
    trained = averaged.trained.online.state_dict()
    for key, value in plain.trained.state_dict().items():
        assert torch.equal(trained[key], value), key
    assert not any(module.training for module in average.modules())
