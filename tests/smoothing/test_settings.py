"""What cannot be certified is refused, in one line, before torch is imported."""

import subprocess
import sys

import numpy as np
import pytest

from robust_transfer.core.errors import ConfigError
from robust_transfer.smoothing.settings import Settings

GOOD = {"sigma": 0.5, "n": 100_000, "alpha": 0.001}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"n": 100, "n0": 200}, "n=100 (expected at least certify.n0=200)"),
        ({"n": 150}, "n=150 (expected a multiple of 100"),
        ({"n": 0}, "n=0"),
        ({"n": 100.5}, "n=100.5"),
        ({"n0": 10}, "n0=10 (expected a multiple of 100"),
        ({"alpha": 0.0}, "alpha=0.0 (expected above 0 and below 0.5)"),
        ({"alpha": 0.5}, "alpha=0.5"),
        ({"alpha": 2}, "alpha=2"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"sigma": -0.1}, "sigma=-0.1"),
        ({"sigma": float("inf")}, "sigma=inf"),
        ({"mode": "decied"}, "mode='decied'"),
        ({"mode": "decide", "radii": ()}, "radii=[]"),
        ({"radii": (0.5, -1.0)}, "radii=[0.5, -1.0]"),
        ({"radii": b"1"}, "radii=b'1'"),
        ({"radii": {0.5: 1}}, "radii={0.5: 1}"),
        ({"mode": np.zeros((9, 9))}, "mode=array([[0., 0., "),
        ({"mode": "adaptive", "tolerance": 1.0}, "tolerance=1.0"),
    ],
)
def test_a_setting_out_of_range_is_named(change, found):
    with pytest.raises(ConfigError) as caught:
        Settings(**{**GOOD, **change}, prefix="certify.")
    assert f"certify.{found}" in caught.value.what and "\n" not in caught.value.what


def test_a_misspelt_mode_is_suggested():
    with pytest.raises(ConfigError, match="did you mean 'decide'"):
        Settings(**GOOD, mode="decied")


@pytest.mark.parametrize("change", [{}, {"sigma": 0}, {"n": 100}, {"radii": ()}, {"alpha": 0.499}])
def test_good_settings_pass(change):
    Settings(**{**GOOD, **change})


@pytest.mark.slow
def test_the_check_imports_no_torch_and_the_public_names_are_functions():
    code = """
import sys
from robust_transfer.smoothing import settings
assert not {"torch", "scipy", "numpy"} & set(sys.modules), "heavy imports"
import robust_transfer.smoothing.certification
from robust_transfer.smoothing import certify, certify_counts, predict
assert all(callable(f) for f in (certify, certify_counts, predict))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
