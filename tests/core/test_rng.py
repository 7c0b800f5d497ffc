import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from robust_transfer.core import rng


def test_a_draw_depends_on_its_key_alone():
    first = rng.normal((3, 4), 1, "noise", 7)
    torch.randn(10)
    rng.normal((3, 4), 2, "noise", 7)
    assert torch.equal(first, rng.normal((3, 4), 1, "noise", 7))


def test_draws_look_normal():
    sample = rng.normal((20_000,), 3, "noise")
    assert abs(sample.mean()) < 0.03 and abs(sample.std() - 1) < 0.03


def test_global_state_is_given_back():
    before = torch.get_rng_state()
    with rng.global_state(1, "init"):
        inside = torch.rand(3)
    assert torch.equal(before, torch.get_rng_state())
    with rng.global_state(1, "init"):
        assert torch.equal(inside, torch.rand(3))


def states_that_meet(draw, count):
    """Pairs of keys whose first 63 bits are the same; by chance, two of 10,000 once in 10^11 runs."""
    first, pairs = {}, []
    for number in range(count):
        name = first.setdefault(draw(number).numpy().tobytes(), number)
        if name != number:
            pairs.append((name, number))
    return pairs


@pytest.mark.parametrize(
    ("seed", "purpose", "before", "after"),
    [(0, "estimate", (13_745,), ()), (0, "estimate", (15_145,), ()), (3, "noise", (2,), (1,))],
)
def test_no_two_keys_share_a_state(seed, purpose, before, after):
    """Of hashes cut to 32 bits, 608 and 966 of the first and 75 and 510 of the second are the same."""

    def draw(number):
        return torch.randint(2**63 - 1, (1,), generator=rng.generator(seed, purpose, *before, number, *after))

    assert states_that_meet(draw, 10_000) == []


def test_states_that_meet_are_seen():
    def cut(number):
        seed = rng.key(0, "estimate", 13_745, number) % 2**32
        return torch.randint(2**63 - 1, (1,), generator=torch.Generator().manual_seed(seed))

    assert states_that_meet(cut, 1000) == [(608, 966)]
    assert states_that_meet(lambda number: cut(number % 64), 65) == [(0, 64)]


def test_a_generators_state_is_the_keys_whole_hash():
    """MT19937 as NumPy has it, its 624 words filled by SHAKE-256."""
    drawn = torch.rand(1000, generator=rng.generator(4, "noise", 5))
    words = np.frombuffer(hashlib.shake_256(b"4/noise/5/0").digest(4 * 624), "<u4")
    theirs = np.random.RandomState()
    theirs.set_state(("MT19937", words, 624))
    bits = theirs.randint(0, 2**32, 1000, dtype=np.uint32) & (2**24 - 1)
    assert np.array_equal(drawn.numpy(), bits.astype(np.float32) / 2**24)


def test_draws_under_a_global_state_are_the_keys():
    with rng.global_state(4, "noise", 5):
        assert torch.equal(torch.rand(9), torch.rand(9, generator=rng.generator(4, "noise", 5)))


def test_a_counter_is_a_key_of_its_own():
    draws = [rng.normal((3,), 0, "noise", 1, counter=c) for c in (0, 1, 2**31)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(draws, 2))


def test_no_counter_is_counter_zero():
    assert torch.equal(rng.normal((3,), 5, "noise", 1), rng.normal((3,), 5, "noise", 1, counter=0))


def test_every_part_of_the_key_matters():
    keys = [(0, "a", 1, 2), (1, "a", 1, 2), (0, "b", 1, 2), (0, "a", 2, 1), (0, "a", 12), (0, "a", 1, 2, 0)]
    assert len({rng.key(*parts) for parts in keys}) == len(keys)


def test_keys_do_not_change_between_versions():
    # Golden: a change here makes every stage of every user irreproducible.
    assert rng.key(0, "noise", 1, 2) == 7454679448656141705


def test_numpys_numbers_depend_on_their_key_alone_and_need_no_torch():
    one = rng.numpy_generator("p", 3).integers(0, 1000, size=50)
    rng.numpy_generator("p", 4).integers(0, 1000, size=50)
    assert np.array_equal(one, rng.numpy_generator("p", 3).integers(0, 1000, size=50))
    assert not np.array_equal(one, rng.numpy_generator("q", 3).integers(0, 1000, size=50))
    code = "import sys\nfrom robust_transfer.core import rng\n"
    code += "rng.numpy_generator('p')\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
