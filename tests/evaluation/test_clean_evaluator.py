"""Clean predictions against the model called by hand."""

import pytest
import torch

from evaluation_jobs import digit_pixels, fitted_model, make_job, records, run
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.clean import check_finite


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_predictions_are_the_models_own_in_any_forward_shape(model_file, tmp_path, batch_size):
    job = make_job("clean", tmp_path, model_file, subset=33, batch_size=batch_size)
    run(job)
    model, (pixels, labels) = fitted_model(), digit_pixels()
    table = records(job)
    indices = [int(r["index"]) for r in table]
    with torch.no_grad():
        logits = torch.cat([model(pixels[i : i + 1]) for i in indices])
    top = logits.topk(2).values
    sure = (top[:, 0] - top[:, 1] > 1e-4).tolist()
    assert sum(sure) > 30
    for row, expected, label, certain in zip(
        table, logits.argmax(1).tolist(), labels[indices].tolist(), sure, strict=True
    ):
        assert int(row["label"]) == label
        assert int(row["prediction"]) == expected or not certain
        assert row["correct"] == str(int(int(row["prediction"]) == label))


def test_low_arithmetic_agrees_on_nearly_all_images(model_file, tmp_path):
    tables = []
    for kind in ("fp32", "bf16"):
        job = make_job("clean", tmp_path / kind, model_file, subset=100, arithmetic=kind)
        run(job)
        tables.append([r["prediction"] for r in records(job)])
    assert sum(a == b for a, b in zip(*tables, strict=True)) >= 95


def test_the_first_image_with_bad_logits_is_named():
    logits = torch.zeros(3, 2)
    check_finite(logits, [4, 9, 14])
    logits[1, 0], logits[2, 1] = float("nan"), float("inf")
    with pytest.raises(EvaluationError, match=r"2 images are not finite \(first: image 9\)"):
        check_finite(logits, [4, 9, 14])
