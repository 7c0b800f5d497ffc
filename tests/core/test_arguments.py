"""Numbers of every type that users hold; everything else is one line."""

import numpy as np
import pytest
import torch

from robust_transfer.core.arguments import real, whole
from robust_transfer.core.errors import ConfigError


@pytest.mark.parametrize(
    "value",
    [7, 7.0, np.int64(7), np.float32(7), np.array(7), torch.tensor(7), torch.tensor([7]), np.array([7])],
)
def test_whole_numbers_of_any_type(value):
    number = whole("n", value)
    assert number == 7 and type(number) is int


@pytest.mark.parametrize(
    "value",
    [
        *(7.5, "7", b"7", None, True, np.bool_(True), float("nan"), float("inf"), [7], {}),
        *(np.array([7, 8]), torch.tensor([7, 8]), torch.tensor(7.5), torch.tensor(True)),
        *(np.zeros((40, 40)), torch.zeros(40, 40), "7" * 1000),
    ],
)
def test_what_is_not_a_whole_number_is_one_line(value):
    with pytest.raises(ConfigError, match="n=") as caught:
        whole("n", value)
    assert "expected a whole number" in caught.value.what
    assert "\n" not in caught.value.what and len(caught.value.what) < 120


def test_a_least_value():
    assert whole("index", 0, low=0) == 0
    with pytest.raises(ConfigError, match=r"index=-1 \(expected a whole number, at least 0"):
        whole("index", -1, low=0)


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.array([0.5]), torch.tensor([0.5], requires_grad=True)]
)
def test_real_numbers_of_any_type(value):
    assert real("sigma", value) == 0.5 and type(real("sigma", value)) is float


@pytest.mark.parametrize("value", [None, "0.5", float("nan"), float("inf"), [0.5], True, torch.zeros(2), 1j])
def test_what_is_not_a_real_number_is_one_line(value):
    with pytest.raises(ConfigError, match="sigma="):
        real("sigma", value)
