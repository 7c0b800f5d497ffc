import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))


@pytest.fixture
def make_method():
    import training_jobs

    return training_jobs.make_method
