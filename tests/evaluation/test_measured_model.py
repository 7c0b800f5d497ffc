"""A measured file is opened again as it was read, but for what it was allowed to do."""

from types import SimpleNamespace

import pytest

from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation import measured_model
from robust_transfer.models.importers import content_sha256
from robust_transfer.store.records import Lineage


def test_a_file_that_was_trusted_is_not_trusted_again_and_must_be_the_same(tmp_path, monkeypatch):
    read = []
    model = SimpleNamespace(eval=lambda: "model")
    report = SimpleNamespace(lines=list)
    monkeypatch.setattr(
        measured_model, "import_checkpoint", lambda path, **options: (read.append(options) or model, report)
    )
    file = tmp_path / "f"
    file.write_bytes(b"weights")
    noted = {"path": str(file), "reading": {"arch": "resnet50", "trust": True}, "denoiser": None}
    lineage = Lineage(file_sha256=content_sha256(file))
    assert measured_model.reopen_model(noted, lineage, "stage") == "model"
    assert read == [{"arch": "resnet50", "trust": False, "keep_head": True}]
    file.write_bytes(b"other")
    with pytest.raises(EvaluationError, match="not the file that stage measured"):
        measured_model.reopen_model(noted, lineage, "stage")
    file.unlink()
    with pytest.raises(EvaluationError, match="is missing"):
        measured_model.reopen_model(noted, lineage, "stage")
    assert len(read) == 1
