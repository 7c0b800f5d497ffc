"""Settings of all tests."""

import os

# One thread: two threads on two busy cores run up to ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# No test depends on time, on chance or on how busy the machine is.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads what another, or a user, keeps of files."""
    monkeypatch.setenv(
        "RT_CACHE",
        str(
            tmp_path_factory.getbasetemp()
            / "cache"
            / os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2][:40].replace("/", " ")
        ),
    )


@pytest.fixture(scope="module")
def base():
    """A run from few labels with a validation part, certified."""
    from planned import BASE
    from tiny_runs import composed

    return composed(*BASE, "dataset.shots=5", "dataset.validation_fraction=0.1")


@pytest.fixture(scope="module")
def attacked():
    """A run at the study's scale, attacked twice."""
    from tiny_runs import composed

    return composed("pretrain=simclr", "finetune=at", "dataset=pets", "evaluators=[pgd,autopgd]")
