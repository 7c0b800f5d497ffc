"""Noise is a function of its key, and Gaussian."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from robust_transfer.smoothing.noise import noise_backend, noise_block


def block(shape=(1, 8, 8), *, seed=0, purpose="estimate", index=3, number=2):
    return noise_block(shape, seed=seed, purpose=purpose, index=index, block=number)


def test_a_block_depends_on_its_key_alone():
    first = block()
    torch.randn(7)
    block(index=9)
    assert torch.equal(block(), first)
    assert first.shape == (100, 1, 8, 8) and first.dtype == torch.float32


def repeated(draw, *, index, blocks):
    """Pairs of an image's blocks that are the same noise, the selection's among them."""
    drawn, pairs = {}, []
    names = [("select", b) for b in range(10)] + [("estimate", b) for b in range(blocks)]
    for name in names:
        purpose, number = name
        first = drawn.setdefault(
            draw((1, 1, 1), purpose=purpose, index=index, number=number).numpy().tobytes(), name
        )
        if first != name:
            pairs.append((first, name))
    return pairs


@pytest.mark.parametrize("index", [3, 13_745, 15_145])
def test_the_blocks_of_an_image_are_all_different(index):
    """Where a generator's 32 bits come from a hash, blocks 608 and 966 of image 13,745 are the same."""
    assert repeated(block, index=index, blocks=10_000 if index == 3 else 1000) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda purpose, number: (purpose, number % 64),
        lambda purpose, number: (purpose, 608 if number == 966 else number),
        lambda purpose, number: ("estimate", number),
    ],
)
def test_a_block_that_repeats_is_seen(change):
    def draw(shape, *, purpose, index, number):
        purpose, number = change(purpose, number)
        return block(shape, purpose=purpose, index=index, number=number)

    assert repeated(draw, index=3, blocks=1000)


def test_images_and_seeds_have_noise_of_their_own():
    """Indices beyond 1000 and blocks beyond 64 among them; all pairs, five and a half deviations."""
    keys = itertools.product((0, 1), ("select", "estimate"), (0, 1, 10, 1000, 1001), (0, 1, 64))
    flat = torch.stack([block(seed=s, purpose=p, index=i, number=b) for s, p, i, b in keys]).flatten(1)
    correlations = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlations.abs().max() < 5.5 / flat.shape[1] ** 0.5


def test_noise_is_standard_normal():
    values = torch.cat([block(number=b).flatten() for b in range(10)]).double().numpy()
    assert kstest(values, "norm").pvalue > 1e-3
    assert abs(np.mean(values)) < 4 / len(values) ** 0.5


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("AVX2", "shake-torch-cpu-avx2"),
        ("AVX512", "shake-torch-cpu-avx2"),
        ("DEFAULT", "shake-torch-cpu-default"),
    ],
)
def test_backend_names_what_changes_the_bits(monkeypatch, capability, name):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert noise_backend("cpu") == name
