"""The model that an evaluation measures: a stage's, or a file of no stage, optionally behind a denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import EvaluationError
from robust_transfer.models import Denoised, import_checkpoint, load_model, read_denoiser
from robust_transfer.models.importers import content_sha256
from robust_transfer.models.normalized import Classifier
from robust_transfer.store.job import ModelFile
from robust_transfer.store.records import Lineage


def open_model(file: ModelFile) -> tuple[Classifier, list[str]]:
    """Load a model with its head, a foreign one as it was described when it was planned.

    Returns
    -------
    (the model, what was done to a foreign file, line by line)
    """
    lines: list[str] = []
    if file.reading is None:
        model: Classifier = load_model(file.path)
    else:
        model, report = import_checkpoint(file.path, **file.reading, keep_head=True)
        lines = report.lines()
    return (model if file.denoiser is None else Denoised(read_denoiser(file.denoiser), model)), lines


def file_record(file: ModelFile) -> dict[str, Any] | None:
    """Return what status.json records of a model that has no key in the store; None where it has one."""
    if file.reading is None and file.denoiser is None:
        return None
    reading = None if file.reading is None else dict(file.reading)
    denoiser = None if file.denoiser is None else str(file.denoiser)
    return {"path": str(file.path), "reading": reading, "denoiser": denoiser}


def reopen_model(record: Mapping[str, Any], lineage: Lineage, stage: str) -> Classifier:
    """Load the model that `record` describes again; no code in its files runs, whatever was allowed then.

    Parameters
    ----------
    lineage : of the evaluation: the sha256 of what it measured
    stage : its name, for messages

    Raises
    ------
    EvaluationError : a file is not where it was, or is another one
    """
    denoiser = None if record["denoiser"] is None else Path(record["denoiser"])
    denoiser_hash = (lineage.defence or "").rpartition(" ")[2]
    for path, digest in ((Path(record["path"]), lineage.file_sha256 or ""), (denoiser, denoiser_hash)):
        if path is None:
            continue
        if not path.exists():
            raise EvaluationError(f"{path}, which {stage} measured, is missing", "put it back")
        if not content_sha256(path).startswith(digest):
            raise EvaluationError(f"{path} is not the file that {stage} measured (another sha256)")
    reading = None if record["reading"] is None else {**record["reading"], "trust": False}
    return open_model(ModelFile(Path(record["path"]), "", reading, denoiser))[0].eval()


def loading_code(record: Mapping[str, Any]) -> str:
    """Return the Python code that loads the model that `record` describes."""
    options = "".join(f", {name}={value!r}" for name, value in (record["reading"] or {}).items())
    lines = ["from robust_transfer.models import Denoised, import_checkpoint, load_model, read_denoiser", ""]
    if record["reading"] is None:
        lines.append(f"model = load_model({record['path']!r})")
    else:
        lines.append(f"model, _ = import_checkpoint({record['path']!r}{options}, keep_head=True)")
    if record["denoiser"] is not None:
        lines.append(f"model = Denoised(read_denoiser({record['denoiser']!r}), model)")
    return "\n".join([*lines, "logits = model.eval()(images)  # images in [0, 1]"])
