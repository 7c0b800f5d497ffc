"""Certificates over a data set against `certify` called image by image."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from evaluation_jobs import digit_pixels, fitted_model, journal_lines, make_job, records, run, settings_of
from robust_transfer.config.schema import settings as stored
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation import class_counts, protocol
from robust_transfer.evaluation.certify import CertifyEvaluator
from robust_transfer.evaluation.class_counts import UNIT
from robust_transfer.evaluation.settings import smoothing_settings
from robust_transfer.models.fast import fast_inference
from robust_transfer.smoothing import certify
from robust_transfer.smoothing.certification import conclude
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.smoothing.stopping import Progress, StoppingRule
from robust_transfer.store.journal import read_journal

FIELDS = (
    "guess", "prediction", "count_top", "num_samples", "samples_drawn", "stopped", "nonfinite", "near_ties",
)  # fmt: skip
NUMBERS = ("radius", "p_lower", "alpha_spent")
CASES = [
    {},
    {"sigma": 0.15, "seed": 4},
    {"mode": "decide", "n": 3000, "radii": [0.05, 0.2]},
    {"mode": "adaptive", "n": 3000, "tolerance": 0.1},
    {"sigma": 0.0},
]


def by_hand(job, model, index):
    pixels, labels = digit_pixels()
    names = ("sigma", "n0", "n", "alpha", "seed")
    settings = {**{name: getattr(job.stage.config, name) for name in names}, **job.stage.config.rule}
    assert settings.pop("analyses", "dense") == "dense"
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    other = {**unit, "near_ties": str(int(unit["near_ties"]) + 1)}
    with pytest.raises(EvaluationError, match=f"image {unit['index']} has two different counts"):
        CertifyEvaluator(job.stage.config).records([*rows, other], digit_pixels()[1].tolist())
    pick = next(r for r in rows if r["purpose"] == "select")
    other = {**pick, "near_ties": str(int(pick["near_ties"]) + 1)}
    with pytest.raises(EvaluationError, match=f"image {pick['index']} has two different"):
        CertifyEvaluator(job.stage.config).records([*rows, other], digit_pixels()[1].tolist())


def test_units_of_another_size_are_never_summed_as_if_they_were_whole(model_file, tmp_path, monkeypatch):
    job = make_job("certify", tmp_path, model_file)
    monkeypatch.setattr(class_counts, "UNIT", 300)
    run(job)
    monkeypatch.undo()
    with pytest.raises(EvaluationError, match="two different counts"):
        run(job)


def metrics(job):
    columns = {"correct": np.ones(3), "radius": np.array([0.2, 0.5, 0.7])}
    return {
        name: values.mean()
        for name, values in job.stage.config.spec.values(columns, stored(job.stage.config)).items()
    }


def test_metrics_are_those_of_the_radii_that_are_settled(model_file, tmp_path):
    """At n = 500 and sigma 0.1 nothing beyond 0.221 can be certified; at sigma 1 everything asked for can."""

    def job(mode, sigma, **settings):
        return make_job("certify", tmp_path, model_file, mode=mode, sigma=sigma, **settings)

    assert metrics(job("exact", 0.1)).keys() == {"sa", "acr"}
    assert metrics(job("decide", 0.1, radii=[0.1])).keys() == {"sa", "ra@0.1"}
    assert metrics(job("decide", 1.0, radii=[0.6])) == {
        "sa": 1,
        "ra": 2 / 3,
        "ra@0.5": 2 / 3,
        "ra@0.6": 1 / 3,
    }
    assert metrics(job("adaptive", 1.0, ra_radius=0.2)).keys() == {"sa", "ra", "ra@0.2", "acr"}
    assert metrics(job("exact", 0.0)).keys() == {"sa", "ra", "ra@0.5", "acr"}
    run(job("decide", 0.1, radii=[0.1]))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["metrics"]["ra"] is None and summary["metrics"]["acr"] is None
    assert summary["metrics"]["ra@0.1"] >= 0 and "ra@0.1" in summary["intervals"]


def test_the_model_is_prepared_once_an_evaluation(model_file, tmp_path, monkeypatch):
    prepared = []

    def counting(model, **settings):
        prepared.append(settings)
        return fast_inference(model, **settings)

    monkeypatch.setattr(protocol, "fast_inference", counting)
    run(make_job("certify", tmp_path, model_file, mode="decide", n=3000))
    assert len(prepared) == 1


@pytest.mark.parametrize(("arithmetic", "kernels"), [("fp32", None), ("bf16", "eager, torch ")])
def test_low_precision_names_its_kernels(model_file, tmp_path, arithmetic, kernels):
    job = make_job("certify", tmp_path, model_file, subset=2, n=100, arithmetic=arithmetic)
    run(job)
    header, _ = read_journal(tmp_path / "journal.0.csv")
    stored = json.loads((tmp_path / "summary.json").read_text())["kernels"]
    assert stored == header["kernels"] and (stored is None if kernels is None else stored.startswith(kernels))
    # Begun by other kernels: not taken up.
    path = tmp_path / "journal.0.csv"
    first, rest = path.read_text().split("\n", 1)
    values = {**json.loads(first[2:]), "kernels": "compiled, torch 0"}
    path.write_text("# " + json.dumps(values) + "\n" + rest.split("\n")[0] + "\n")
    with pytest.raises(EvaluationError, match="kernels='compiled, torch 0'"):
        run(job)


def test_class_counts_are_journalled_and_read_back(model_file, tmp_path):
    job = make_job("certify", tmp_path, model_file, sigma=0.5, n=500)
    run(job)
    for index, counts in class_counts.read(tmp_path).items():
        expected = by_hand(job, fast_inference(fitted_model()), index)
        assert counts.votes == expected.counts
    row = next(row for row in records(job) if row["stopped"] == "full")
    expected = by_hand(job, fast_inference(fitted_model()), int(row["index"]))
    assert float(row["radius_two_class"]) == expected.radius_two_class


def test_journals_of_the_first_version_fold_by_their_own_rule(model_file, tmp_path):
    """Without the votes of the other classes, and without a radius that is settled beside those asked for."""
    job = make_job(
        "certify", tmp_path, model_file, mode="decide", n=3000, sigma=0.3, radii=[0.1], ra_radius=None
    )
    run(job)
    _, rows = read_journal(tmp_path / "journal.0.csv")
    older = [{name: cell for name, cell in row.items() if name != "counts"} for row in rows]
    folded = CertifyEvaluator(job.stage.config).records(older, digit_pixels()[1].tolist())
    assert [{**r, "radius_two_class": None} for r in folded] == [
        {**r, "radius_two_class": None}
        for r in CertifyEvaluator(job.stage.config).records(rows, digit_pixels()[1].tolist())
    ]
    assert all("radius_two_class" not in record for record in folded)


@pytest.mark.parametrize("radii", [[0.5], [0.25], [0.25, 0.75], [1.0], [0.1, 0.4, 0.9]])
@pytest.mark.parametrize("mode", ["decide", "adaptive"])
def test_ra_is_that_of_the_full_run_whatever_radii_are_asked_for(mode, radii):
    """On the same votes, p_A drawn near the threshold for many; futility may lose some."""
    changes = {"radii": radii} if mode == "decide" else {}
    config = settings_of("certify", mode=mode, n=20_000, sigma=0.5, **changes)
    full = settings_of("certify", mode="exact", n=20_000, sigma=0.5)
    rule = StoppingRule(smoothing_settings(config))
    drawn = np.random.default_rng(len(radii))
    sizes = np.diff([0, *(analysis.samples for analysis in rule.analyses)])
    votes = drawn.binomial(sizes, norm.cdf(drawn.normal(1.0, 0.8, (400, 1))))
    ra, exact = ra_of(config, votes), ra_of(full, votes.sum(1, keepdims=True))
    assert 0.2 < exact < 0.8 and abs(ra - exact) <= 3 / 400 + 1e-12


def ra_of(config, votes):
    """The metric that the spec computes of certificates of these votes."""
    rule = StoppingRule(smoothing_settings(config))
    radii = []
    for row in votes.tolist():
        progress, waiting = Progress(0), iter(row)
        while rule.next(progress):
            progress = progress.add(ClassCounts(Counter({0: next(waiting)})))
        radii.append(conclude(rule, progress).radius)
    columns = {"correct": np.array([radius > 0 for radius in radii], float), "radius": np.array(radii)}
    return float(config.spec.values(columns, stored(config))["ra"].mean())


def test_what_holds_of_all_images_takes_off_the_false_certificates_that_there_may_be():
    """500 at 0.001: with 99.9 % at most 4 are false (binomial quantile)."""
    config = settings_of("certify", mode="exact", sigma=0.5, n=1000)
    settings = stored(config)
    lines = config.spec.statements(settings, {"sa": 0.5, "ra": 0.002, "acr": None}, 500)
    assert [name for name, _ in lines] == ["SA, 99.9 %", "RA, 99.9 %"]
    assert "at least 49.2 %" in lines[0][1] and "at least 0.0 %" in lines[1][1] and "0.5" in lines[1][1]
    [(_, text)] = config.spec.statements(settings, {"sa": 269 / 301}, 301)
    assert "at least 88.3 % of" in text  # 266 of 301 are 88.37 %
    assert config.spec.statements({**settings, "sigma": 0.0}, {"sa": 0.5}, 500) == ()
