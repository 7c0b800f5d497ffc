import numpy as np

from robust_transfer.core import draws, rng


def test_keys_are_those_of_rng():
    for seed, purpose, index in ((0, "a", ()), (7, "mean_interval", (500,)), (1, "x/y", (2, 3))):
        assert draws.key(seed, purpose, *index) == rng.key(seed, purpose, *index)


def test_a_generator_depends_on_its_key_alone():
    one = draws.generator("p", 3).integers(0, 1000, size=50)
    draws.generator("p", 4).integers(0, 1000, size=50)
    assert np.array_equal(one, draws.generator("p", 3).integers(0, 1000, size=50))
    assert not np.array_equal(one, draws.generator("q", 3).integers(0, 1000, size=50))
