import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_transfer.pipeline.limits import limited_evaluator, limited_method
from tiny_runs import composed

CONFIG = composed("pretrain=none", "finetune=cr", "dataset=pets")
caps = st.none() | st.integers(2, 50)


@given(given_steps=caps, cap_steps=caps, given_batch=st.integers(2, 50), cap_batch=caps)
def test_a_cap_is_an_upper_bound_and_nothing_else(given_steps, cap_steps, given_batch, cap_batch):
    method = dataclasses.replace(CONFIG.finetune, max_steps=given_steps, batch_size=given_batch)
    budget = dataclasses.replace(CONFIG.budget, max_steps=cap_steps, batch_size=cap_batch)
    capped = limited_method(method, budget)
    steps = [s for s in (given_steps, cap_steps) if s is not None]
    assert capped.max_steps == (sorted(steps)[0] if steps else None)
    assert capped.batch_size == (given_batch if cap_batch is None else min(given_batch, cap_batch))
    assert dataclasses.replace(capped, max_steps=given_steps, batch_size=given_batch) == method


@pytest.mark.parametrize(("cap", "batch", "micro"), [(None, 9, 3), (4, 3, 3), (2, 2, 2), (8, 6, 3)])
def test_a_capped_batch_stays_a_multiple_of_its_micro_batch(cap, batch, micro):
    method = dataclasses.replace(CONFIG.finetune, batch_size=9, micro_batch=3)
    capped = limited_method(method, dataclasses.replace(CONFIG.budget, batch_size=cap))
    assert (capped.batch_size, capped.micro_batch) == (batch, micro)


def test_evaluators_shrink_in_images_steps_and_samples_alone():
    budget = dataclasses.replace(CONFIG.budget, subset=7, attack_steps=3, n=200)
    attack, certify = (
        limited_evaluator(CONFIG.evaluator_settings[name], budget) for name in ("autopgd", "certify")
    )
    assert (attack.subset, attack.num_steps, attack.eps, attack.num_restarts) == (7, 3, 0.5, 1)
    assert (certify.subset, certify.n, certify.n0, certify.alpha) == (7, 200, 100, 0.001)
