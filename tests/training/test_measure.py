import pytest

from robust_transfer.config.model import ModelConfig
from robust_transfer.training import measure
from training_jobs import METHODS, make_method, make_runtime

MODEL = ModelConfig(arch="resnet18_small", width=2, image_size=8, normalize="none")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_timed(name):
    found = measure.seconds_per_step(make_method(name), MODEL, make_runtime(), num_classes=3)
    assert 0 < found < 60


def test_a_whole_batch_is_charged_where_a_part_of_it_is_timed(monkeypatch):
    sizes = []
    monkeypatch.setattr(measure, "timed", lambda step, device: (step(), 2.0)[1])
    batch = measure.synthetic_batch
    monkeypatch.setattr(
        measure,
        "synthetic_batch",
        lambda step, size, side: (sizes.append(size), batch(step, size, side))[1],
    )
    found = measure.seconds_per_step(
        make_method("st", batch_size=64), MODEL, make_runtime(devices=2), num_classes=3
    )
    assert sizes == [8] and found == 2.0 * 32 / 8
