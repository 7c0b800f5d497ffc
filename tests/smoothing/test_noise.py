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


def test_no_two_keys_share_noise():
    keys = itertools.product((0, 1), ("select", "estimate"), (0, 1, 10), (0, 1, 10))
    blocks = [block(seed=s, purpose=p, index=i, number=b) for s, p, i, b in keys]
    flat = torch.stack(blocks).flatten(1)
    correlations = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlations.abs().max() < 5.5 / flat.shape[1] ** 0.5  # 630 pairs, five and a half deviations


def test_noise_is_standard_normal():
    values = torch.cat([block(number=b).flatten() for b in range(10)]).double().numpy()
    assert kstest(values, "norm").pvalue > 1e-3
    assert abs(np.mean(values)) < 4 / len(values) ** 0.5


@pytest.mark.parametrize(
    ("capability", "name"),
    [("AVX2", "torch-cpu-avx2"), ("AVX512", "torch-cpu-avx2"), ("DEFAULT", "torch-cpu-default")],
)
def test_backend_names_what_changes_the_bits(monkeypatch, capability, name):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert noise_backend("cpu") == name
