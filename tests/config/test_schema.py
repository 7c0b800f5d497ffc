"""From plain values to dataclasses: types, ranges, names near by."""

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_transfer.config.schema import identity, option, parse, parse_choice
from robust_transfer.core.errors import ConfigError


@dataclass
class Inner:
    eps: float = option("radius", above=0)
    steps: int | None = option("steps", low=1, high=9)


@dataclass
class Outer:
    name: str = option("name", choices=("alpha", "beta"))
    inner: Inner = option("inner part")  # noqa: RUF009
    flag: bool = option("a flag", identity=False)
    rates: list[float] = option("rates", low=0, below=1)  # noqa: RUF009
    optional: Inner | None = option("optional part", default=None)  # noqa: RUF009
    added: int = option("added later", default_for_hash=1, default=1)

    def check(self, path):
        if self.flag and self.name == "beta":
            raise ConfigError(f"{path}.flag with beta")


GOOD = {"name": "alpha", "inner": {"eps": 1, "steps": None}, "flag": False, "rates": [0, 0.5]}


def test_values_become_what_the_fields_say():
    config = parse(Outer, GOOD, "outer")
    assert config == Outer("alpha", Inner(1.0, None), False, [0.0, 0.5], None)
    assert type(config.inner.eps) is float and type(config.rates[0]) is float


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"nam": 1}, "outer.nam is not a field", "did you mean 'name'?"),
        ({"name": "alfa"}, "outer.name='alfa' is unknown", "did you mean 'alpha'?"),
        ({"name": 1}, r"outer.name=1 \(expected a text\)", None),
        ({"flag": 1}, r"outer.flag=1 \(expected true or false\)", None),
        ({"inner": 3}, r"outer.inner must be a mapping of values \(found 3\)", None),
        ({"inner": {"eps": 1}}, r"outer.inner.steps is not given \(steps\)", None),
        ({"inner": {"eps": 0, "steps": 1}}, r"outer.inner.eps=0.0 \(expected more than 0\)", None),
        ({"inner": {"eps": True, "steps": 1}}, r"outer.inner.eps=True \(expected a number\)", None),
        ({"inner": {"eps": 1, "steps": 10}}, r"steps=10 \(expected at least 1 and at most 9\)", None),
        ({"inner": {"eps": 1, "steps": 2.5}}, r"steps=2.5 \(expected a whole number or null\)", None),
        ({"inner": {"eps": 10**400, "steps": 1}}, "outer.inner.eps=1000", None),
        ({"inner": {"eps": float("nan"), "steps": 1}}, "outer.inner.eps=nan", None),
        ({"rates": 0.5}, r"outer.rates=0.5 \(expected a list of a number\)", "outer.rates=[0.5]"),
        ({"rates": [0.5, 1]}, r"outer.rates=1.0 \(expected at least 0 and less than 1\)", None),
        ({"rates": [[0.5]]}, "outer.rates=", None),
        ({"name": "beta", "flag": True}, "outer.flag with beta", None),
    ],
)
def test_what_is_refused_names_the_path(changes, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(Outer, {**GOOD, **changes}, "outer")
    assert caught.value.hints == ((hint,) if hint else ())


def test_a_choice_by_name():
    classes = {"inner": Inner, "outer": Outer}
    with pytest.raises(ConfigError, match="x is not chosen") as caught:
        parse_choice(classes, None, "x")
    assert caught.value.hints == ("x=NAME, one of: inner, outer",)
    with pytest.raises(ConfigError, match=r"x\.name='outr' is unknown"):
        parse_choice(classes, {"name": "outr"}, "x")
    for name in ([1], {}, None, 3):
        with pytest.raises(ConfigError, match="is unknown"):
            parse_choice(classes, {"name": name}, "x")
    assert parse_choice({"alpha": Outer}, GOOD, "x") == parse(Outer, GOOD, "x")


def test_identity_holds_nested_fields_and_leaves_out_what_changes_nothing():
    config = parse(Outer, {**GOOD, "optional": {"eps": 2, "steps": 3}}, "outer")
    assert identity(config) == {
        "name": "alpha",
        "inner": {"eps": 1.0, "steps": None},
        "rates": [0.0, 0.5],
        "optional": {"eps": 2.0, "steps": 3},
    }
    assert identity(dataclasses.replace(config, flag=True)) == identity(config)
    assert identity(dataclasses.replace(config, added=2)) == {**identity(config), "added": 2}


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("alpha"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "eps", "steps", "x"]) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values=wild | st.fixed_dictionaries(dict.fromkeys(GOOD, wild)))
def test_any_value_is_parsed_or_refused_with_a_config_error(values):
    try:
        config = parse(Outer, values, "outer")
    except ConfigError:
        return
    assert isinstance(config, Outer) and config.name in ("alpha", "beta")
    assert config.inner.eps > 0 and (config.inner.steps is None or 1 <= config.inner.steps <= 9)
    assert all(0 <= rate < 1 for rate in config.rates)


def test_a_whole_number_may_be_written_with_an_exponent():
    steps = parse(Outer, {**GOOD, "inner": {"eps": 1, "steps": 0.8e1}}, "outer").inner.steps
    assert steps == 8 and isinstance(steps, int)
