import pytest

from robust_transfer.core.errors import ConfigError, UserError, did_you_mean


def test_hints_are_shown_where_there_is_no_command_line():
    assert str(ConfigError("what", "one", "two")) == "what\n  one\n  two"


def test_user_errors_are_value_errors():
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("temprature", "did you mean 'temperature'?"), ("zzz", "choose from: lr, temperature")],
)
def test_did_you_mean(word, expected):
    assert did_you_mean(word, ["temperature", "lr"]) == expected


def test_long_lists_are_cut():
    assert did_you_mean("zzz", [f"name{i:02d}" for i in range(40)]).endswith("name19, ...")
