import pytest

from evaluation_jobs import fitted_model, save


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    return save(fitted_model(), tmp_path_factory.mktemp("model") / "model.safetensors")
