"""Certificates over a data set against `certify` called image by image."""

import random

import numpy as np
import pytest

from evaluation_jobs import digit_pixels, fitted_model, journal_lines, make_job, records, run
from robust_transfer.config.schema import settings as stored
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation import certify as certify_evaluator
from robust_transfer.evaluation.certify import UNIT, CertifyEvaluator
from robust_transfer.models.fast import fast_inference
from robust_transfer.smoothing import certify
from robust_transfer.store.journal import read_journal

FIELDS = (
    "guess", "prediction", "count_top", "num_samples", "samples_drawn", "stopped", "nonfinite", "near_ties",
)  # fmt: skip
NUMBERS = ("radius", "p_lower", "alpha_spent")
CASES = [
    {},
    {"sigma": 0.25, "seed": 4},
    {"mode": "decide", "n": 3000, "radii": [0.05, 0.2]},
    {"mode": "adaptive", "n": 3000, "tolerance": 0.1},
    {"sigma": 0.0},
]


def by_hand(job, model, index):
    pixels, labels = digit_pixels()
    names = ("sigma", "n0", "n", "alpha", "seed")
    settings = {**{name: getattr(job.stage.config, name) for name in names}, **job.stage.config.rule}
    return certify(model, pixels[index], label=int(labels[index]), index=index, **settings)


@pytest.mark.parametrize("settings", CASES)
def test_every_record_is_the_certificate_of_the_public_function(model_file, tmp_path, settings):
    job = make_job("certify", tmp_path, model_file, **settings)
    run(job)
    model = fast_inference(fitted_model())
    table = records(job)
    for row in table:
        expected = by_hand(job, model, int(row["index"]))
        assert [row[name] for name in FIELDS] == [str(getattr(expected, name)) for name in FIELDS]
        assert [float(row[name]) for name in NUMBERS] == [getattr(expected, name) for name in NUMBERS]
        assert row["correct"] == str(int(expected.prediction == int(row["label"])))
    assert any(row["correct"] == "1" for row in table)


@pytest.mark.parametrize("batch_size", [64, 700])
def test_the_model_itself_and_other_forward_shapes_count_the_same_but_for_near_ties(
    model_file, tmp_path, batch_size
):
    job = make_job("certify", tmp_path / "100", model_file)
    other = make_job("certify", tmp_path / "other", model_file, batch_size=batch_size)
    run(job)
    run(other)
    for row, same in zip(records(job), records(other), strict=True):
        direct = by_hand(job, fitted_model(), int(row["index"]))
        slack = int(row["near_ties"]) + int(same["near_ties"]) + direct.near_ties
        assert abs(int(row["count_top"]) - int(same["count_top"])) <= slack
        assert abs(int(row["count_top"]) - direct.count_top) <= slack


def test_samples_beyond_a_unit_are_counted_once_and_in_all(model_file, tmp_path):
    job = make_job("certify", tmp_path, model_file, subset=1, n=2 * UNIT + 300)
    run(job)
    (row,) = records(job)
    _, rows = read_journal(tmp_path / "journal.0.csv")
    units = [(int(r["start"]), int(r["stop"])) for r in rows if r["purpose"] == "estimate"]
    assert units == [(0, UNIT), (UNIT, 2 * UNIT), (2 * UNIT, 2 * UNIT + 300)]
    expected = by_hand(job, fast_inference(fitted_model()), int(row["index"]))
    assert [row[name] for name in FIELDS] == [str(getattr(expected, name)) for name in FIELDS]
    # Killed between two units: the first is not drawn again, and the sum is the same.
    lines = journal_lines(job)
    (tmp_path / "journal.0.csv").write_bytes(b"".join(lines[:4]) + lines[4][:7])
    before = (tmp_path / "records.csv").read_bytes()
    assert run(job) == before and journal_lines(job) == lines


def test_a_wrong_guess_is_skipped_and_costs_n0_samples_only(model_file, tmp_path):
    job = make_job("certify", tmp_path, model_file, subset=25, n=100)
    run(job)
    _, rows = read_journal(tmp_path / "journal.0.csv")
    estimated = {r["index"] for r in rows if r["purpose"] == "estimate"}
    table = records(job)
    wrong = {r["index"] for r in table if r["guess"] != r["label"]}
    assert wrong and estimated == {r["index"] for r in table} - wrong
    assert {r["stopped"] for r in table if r["index"] in wrong} == {"label"}
    assert all(r["prediction"] == "-1" and r["samples_drawn"] == "0" for r in table if r["index"] in wrong)


def test_rows_fold_in_any_order_and_a_unit_that_stands_twice_counts_once(model_file, tmp_path):
    job = make_job("certify", tmp_path, model_file, mode="decide", n=3000)
    run(job)
    _, rows = read_journal(tmp_path / "journal.0.csv")
    evaluator = CertifyEvaluator(job.stage.config)
    labels = digit_pixels()[1].tolist()
    expected = evaluator.records(rows, labels)
    assert [str(r["count_top"]) for r in expected] == [r["count_top"] for r in records(job)]
    shuffled = [*rows, *rows[::3]]
    random.Random(0).shuffle(shuffled)
    assert evaluator.records(shuffled, labels) == expected
    assert evaluator.finished(shuffled, labels) == {r["index"] for r in expected}


def test_a_unit_with_two_different_counts_is_refused(model_file, tmp_path):
    job = make_job("certify", tmp_path, model_file)
    run(job)
    _, rows = read_journal(tmp_path / "journal.0.csv")
    unit = next(r for r in rows if r["purpose"] == "estimate")
    other = {**unit, "count": str(int(unit["count"]) - 1)}
    with pytest.raises(EvaluationError, match=f"image {unit['index']} has two different counts"):
        CertifyEvaluator(job.stage.config).records([*rows, other], digit_pixels()[1].tolist())
    pick = next(r for r in rows if r["purpose"] == "select")
    other = {**pick, "guess": str((int(pick["guess"]) + 1) % 10)}
    with pytest.raises(EvaluationError, match=f"image {pick['index']} has two different"):
        CertifyEvaluator(job.stage.config).records([*rows, other], digit_pixels()[1].tolist())


def test_units_of_another_size_are_never_summed_as_if_they_were_whole(model_file, tmp_path, monkeypatch):
    job = make_job("certify", tmp_path, model_file)
    monkeypatch.setattr(certify_evaluator, "UNIT", 300)
    run(job)
    monkeypatch.undo()
    with pytest.raises(EvaluationError, match="two different counts"):
        run(job)


def test_decide_has_no_average_radius(model_file, tmp_path):
    columns = {"correct": np.ones(2), "radius": np.array([0.2, 0.7])}
    decide, exact = (
        make_job("certify", tmp_path, model_file, mode=mode).stage.config for mode in ("decide", "exact")
    )
    assert set(decide.spec.values(columns, stored(decide))) == {"sa", "ra"}
    assert exact.spec.values(columns, stored(exact))["acr"].tolist() == [0.2, 0.7]
