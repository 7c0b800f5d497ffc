import numpy as np

from robust_transfer.core import draws


def test_a_generator_depends_on_its_key_alone():
    one = draws.generator("p", 3).integers(0, 1000, size=50)
    draws.generator("p", 4).integers(0, 1000, size=50)
    assert np.array_equal(one, draws.generator("p", 3).integers(0, 1000, size=50))
    assert not np.array_equal(one, draws.generator("q", 3).integers(0, 1000, size=50))
