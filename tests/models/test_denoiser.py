"""Denoised smoothing: a denoiser in closed form, whose certificate is known, and a small trained one."""

import math

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import Denoised, DnCNN, read_denoiser
from robust_transfer.models.fast import fast_inference
from robust_transfer.smoothing import certify
from small_model import small_model

SIDE = 8


class Average(nn.Module):
    """The image of constant grey nearest to a noisy one: the denoiser of flat images by least squares."""

    def forward(self, images):
        return images.mean((1, 2, 3), keepdim=True).expand_as(images)


class FirstPixel(nn.Module):
    """Class 1 where the first pixel is brighter than a half."""

    def forward(self, images):
        above = images[:, 0, 0, 0] - 0.5
        return torch.stack([-above, above], dim=1)


def classifier_of(network):
    model = small_model(2)
    model.backbone = network
    return model.eval()


def test_a_denoiser_in_closed_form_gives_the_certificate_that_it_must():
    # Of n pixels the mean has noise sigma / sqrt(n); alone, the pixel's own noise would decide.
    image, sigma, count = torch.full((3, SIDE, SIDE), 0.55), 0.5, 3 * SIDE * SIDE
    settings = {"sigma": sigma, "n0": 100, "n": 2000, "alpha": 0.001, "batch_size": 100}
    plain = certify(classifier_of(FirstPixel()), image, **settings)
    behind = certify(Denoised(Average(), classifier_of(FirstPixel())), image, **settings)
    for certificate, z in ((plain, 0.05 / sigma), (behind, 0.05 * math.sqrt(count) / sigma)):
        share = 0.5 * (1 + math.erf(z / math.sqrt(2)))
        likely = certificate.counts[1] / 2000
        assert abs(likely - share) < 5 * math.sqrt(share * (1 - share) / 2000)
    assert behind.prediction == 1 and behind.radius > 2 * plain.radius
    assert behind.radius <= 0.05 * math.sqrt(count)  # the distance to the true boundary


def test_an_untrained_denoiser_changes_nothing_and_a_trained_one_takes_noise_away(tmp_path):
    with rng.global_state(0, "denoiser"):
        denoiser = DnCNN(depth=4, channels=8)
    flat = rng.normal((64, 3, 1, 1), 0, "grey").mul(0.1).add(0.5).expand(64, 3, SIDE, SIDE)
    noisy = flat + 0.25 * rng.normal(flat.shape, 0, "noise")
    model = small_model(2).eval()
    with torch.no_grad():
        assert torch.equal(Denoised(denoiser.eval(), model)(noisy), model(noisy))
    optimizer = torch.optim.Adam(denoiser.train().parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        (denoiser(noisy) - flat).square().mean().backward()
        optimizer.step()
    below = {f"module.{name}": tensor for name, tensor in denoiser.state_dict().items()}
    torch.save({"arch": "dncnn", "state_dict": below}, tmp_path / "f")
    read = read_denoiser(tmp_path / "f")
    with torch.no_grad():
        assert torch.equal(read(noisy), denoiser.eval()(noisy))
        unseen = flat + 0.25 * rng.normal(flat.shape, 1, "noise")
        assert (read(unseen) - flat).square().mean() < 0.5 * (unseen - flat).square().mean()
        defended = Denoised(read, model)
        assert torch.allclose(fast_inference(defended)(unseen), defended(unseen), atol=1e-5)


def test_what_is_no_denoiser_is_refused(tmp_path):
    torch.save(small_model(2).backbone.state_dict(), tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"holds no DnCNN(.|\n)*Denoised\(module, classifier\)"):
        read_denoiser(tmp_path / "file")
    state = DnCNN(depth=3, channels=4).state_dict()
    state.pop("dncnn.3.bias")
    torch.save(state, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"missing tensors: dncnn.3.bias"):
        read_denoiser(tmp_path / "file")
