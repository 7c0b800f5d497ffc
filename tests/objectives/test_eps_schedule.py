import pytest
import torch

from linear_network import Plane, grey
from robust_transfer.config.eps_schedules import RampEps
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import Progress, build, scheduled_eps
from steps import whole
from training_jobs import ATTACK, make_method, plateau


def test_radius_is_nothing_then_a_line_then_all_of_it():
    found = [scheduled_eps(t / 50, eps=8.0, start=0.24, end=0.74) for t in (0, 12, 24.5, 36.9, 37, 50)]
    assert found == pytest.approx([0, 0, 4.0, 8 * 24.9 / 25, 8, 8])
    assert scheduled_eps(0.0, eps=8.0, start=0.0, end=0.0) == 8.0
    assert scheduled_eps(0.5, eps=8.0, start=0.5, end=0.5) == 8.0


@pytest.mark.parametrize("method", ["at", "trades", "smoothadv"])
def test_attacks_follow_the_ramp_and_their_passes_are_counted(method):
    ramp = RampEps(start=0.25, end=0.75)
    # Along one direction a quarter of the steps would do: the distance from the image is the radius.
    changes = {"attack": ATTACK.__class__("l2", 0.3, 4, 0.3, True)} if method != "smoothadv" else {"eps": 0.3}
    config = make_method(method, eps_schedule=ramp, **changes)
    objective, model, images = build(config), Plane(), grey(4)
    batch = whole(images, torch.tensor([0, 1, 1, 0]))

    def noise(purpose, copy):
        return torch.ones_like(images)

    calls = []
    for step, eps in ((0, 0.0), (4, 0.0), (8, 0.15), (16, 0.3)):
        model.modes.clear()
        progress = Progress(step=step, total=16, epoch=0, steps_per_epoch=16)
        moved = objective.prepare(model, batch, noise, progress).images[-1] - images
        assert moved.flatten(1).norm(dim=1).tolist() == pytest.approx([eps] * 4, abs=1e-9)
        calls.append(len(model.modes))
    assert calls[0] == calls[1] < calls[2] == calls[3]
    constant = make_method(method, eps_schedule=RampEps(start=0.0, end=0.0), **changes)
    copies = getattr(config, "num_noise_samples", 1)
    steps = getattr(config, "num_steps", 4)
    saved = constant.spec.passes_per_image(constant) - config.spec.passes_per_image(config)
    assert saved == pytest.approx(0.25 * 2 * steps * copies)


def test_a_ramp_needs_an_end_and_rises():
    with pytest.raises(ConfigError, match="needs the length of the run"):
        make_method("at", eps_schedule=RampEps(start=0.2, end=0.7), schedule=plateau()).check("finetune")
    with pytest.raises(ConfigError, match="expected at most"):
        RampEps(start=0.8, end=0.7).check("finetune.eps_schedule")
