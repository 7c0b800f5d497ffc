import pytest


@pytest.fixture(autouse=True)
def no_outer_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
