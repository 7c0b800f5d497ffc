"""Resume, shards, refusals and summary of an evaluation stage, for every evaluator."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch

from evaluation_jobs import (
    CONFIG,
    SMALL,
    fitted_model,
    journal_lines,
    make_job,
    records,
    run,
    run_shards,
    save,
)
from robust_transfer.core.errors import CheckpointError, EvaluationError
from robust_transfer.distributed.launch import launch
from robust_transfer.evaluation import class_counts
from robust_transfer.evaluation.job import evaluate

CASES = [
    *((name, {}) for name in SMALL),
    ("autopgd", {"loss": "dlr_targeted", "num_restarts": 2}),
    ("certify", {"mode": "decide", "n": 2000}),
    ("certify", {"sigma": 0.0, "n0": 200, "subset": 7}),
]
NAMES = [name + "".join(f"-{v}" for v in settings.values()) for name, settings in CASES]
every_case = pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)


@pytest.fixture(scope="module")
def finished(model_file, tmp_path_factory):
    """Return the uninterrupted run of each case, computed once."""
    by_directory = {}

    def once(name, settings):
        key = (name, repr(settings))
        if key not in by_directory:
            job = make_job(name, tmp_path_factory.mktemp("whole"), model_file, **settings)
            run(job)
            by_directory[key] = job
        return by_directory[key]

    return once


def interrupted(whole, directory, cut):
    """Copy a job as a killed run leaves it: the journal cut at a byte, no records."""
    job = dataclasses.replace(whole, directory=directory)
    directory.mkdir(exist_ok=True)
    content = (whole.directory / "journal.0.csv").read_bytes()
    (directory / "journal.0.csv").write_bytes(content[:cut])
    return job


@pytest.mark.slow
@every_case
def test_cut_anywhere_and_started_again_gives_the_same_bytes(finished, name, settings, tmp_path, monkeypatch):
    whole = finished(name, settings)
    expected = (whole.directory / "records.csv").read_bytes()
    if name == "certify":  # more units an image, and the same sums
        monkeypatch.setattr(class_counts, "UNIT", 300)
        whole = make_job(name, tmp_path / "units", whole.parent.path, **settings)
        assert run(whole) == expected
    size = (whole.directory / "journal.0.csv").stat().st_size
    for number, share in enumerate((0.0, 0.02, 0.35, 0.71, 0.999)):
        job = interrupted(whole, tmp_path / str(number), int(size * share))
        assert run(job) == expected
        assert sorted(journal_lines(job)) == sorted(journal_lines(whole))


@every_case
def test_a_finished_evaluation_draws_nothing_again(finished, name, settings, tmp_path):
    whole = finished(name, settings)
    job = interrupted(whole, tmp_path, None)
    assert run(job) == (whole.directory / "records.csv").read_bytes()
    assert journal_lines(job) == journal_lines(whole)


@pytest.mark.slow
@every_case
def test_shards_give_the_same_bytes(finished, name, settings, tmp_path):
    whole = finished(name, settings)
    expected = (whole.directory / "records.csv").read_bytes()
    job = make_job(name, tmp_path / "two", whole.parent.path, **settings)
    assert run_shards(job, 2) == expected
    indices = [{line.split(b",")[0] for line in journal_lines(job, shard)[2:]} for shard in (0, 1)]
    assert indices[0] and indices[1] and not indices[0] & indices[1]
    # Begun by two, gone on with by one: both journals count.
    for shard in (0, 1):
        path = job.directory / f"journal.{shard}.csv"
        path.write_bytes(path.read_bytes()[: path.stat().st_size * (shard + 1) // 3])
    (job.directory / "records.csv").unlink()
    assert run(job) == expected


def test_a_shard_that_was_killed_before_its_header_was_whole_stops_nobody(finished, tmp_path):
    whole = finished("clean", {})
    job = make_job("clean", tmp_path, whole.parent.path)
    (tmp_path / "journal.1.csv").write_bytes(b'# {"arith')
    assert run(job) == (whole.directory / "records.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_two_processes_give_the_same_bytes(finished, name, tmp_path):
    whole = finished(name, {})
    job = make_job(name, tmp_path, whole.parent.path)
    reported = launch(evaluate, (job,), devices=2, device_kind="cpu")
    assert (tmp_path / "records.csv").read_bytes() == (whole.directory / "records.csv").read_bytes()
    assert reported["device"] == "cpu"
    assert sorted(path.name for path in tmp_path.glob("journal*")) == ["journal.0.csv", "journal.1.csv"]


@pytest.mark.parametrize("field", ["device", "key", "arithmetic"])
@pytest.mark.parametrize("name", ["clean", "autopgd", "certify"])
def test_rows_of_another_device_arithmetic_or_stage_are_refused(finished, name, field, tmp_path):
    job = begun_with(finished(name, {}), tmp_path, field, "another")
    before = journal_lines(job)
    with pytest.raises(EvaluationError, match=f"was begun with {field}='another'"):
        run(job)
    assert journal_lines(job) == before and not (tmp_path / "records.csv").exists()


@pytest.mark.parametrize("field", ["noise_backend", "weights"])
def test_counts_of_another_noise_sampler_or_model_are_refused(finished, field, tmp_path):
    job = begun_with(finished("certify", {}), tmp_path, field, "another")
    with pytest.raises(EvaluationError, match=f"was begun with {field}='another'"):
        run(job)
    # Also where the rows stand in another shard's journal.
    (tmp_path / "journal.0.csv").rename(tmp_path / "journal.1.csv")
    with pytest.raises(EvaluationError, match=f"was begun with {field}='another'"):
        run(job)


def begun_with(whole, directory, field, value):
    header, *lines = journal_lines(whole)
    changed = {**json.loads(header.removeprefix(b"# ")), field: value}
    content = b"# " + json.dumps(changed).encode() + b"\n" + b"".join(lines[:-1])
    (directory / "journal.0.csv").write_bytes(content)
    return dataclasses.replace(whole, directory=directory)


def test_a_subset_is_evenly_spaced_over_the_whole_test_set(model_file, tmp_path):
    everything = make_job("clean", tmp_path / "all", model_file, subset=None)
    run(everything)
    indices = [int(r["index"]) for r in records(everything)]
    assert indices == list(range(len(indices))) and len(indices) > 700
    part = make_job("clean", tmp_path / "part", model_file, subset=30)
    run(part)
    chosen = [int(r["index"]) for r in records(part)]
    gaps = {b - a for a, b in itertools.pairwise(chosen)}
    assert len(chosen) == 30 and max(gaps) - min(gaps) <= 1
    assert chosen[-1] + max(gaps) >= len(indices) - 1 and chosen[0] <= max(gaps)
    # An image's record does not depend on which others are in the subset.
    by_index = {r["index"]: r for r in records(everything)}
    assert all(by_index[r["index"]] == r for r in records(part))


def test_the_summary_follows_from_the_records(finished):
    for name in SMALL:
        job = finished(name, {})
        table, summary = records(job), json.loads((job.directory / "summary.json").read_text())
        correct = np.array([r["correct"] == "1" for r in table])
        labels = np.array([int(r["label"]) for r in table])
        assert summary["metrics"]["sa"] == pytest.approx(correct.mean())
        per_class = np.mean([correct[labels == k].mean() for k in sorted(set(labels))])
        assert summary["metrics"]["sa_per_class"] == pytest.approx(per_class)
        assert summary["num_images"] == len(table) == summary["subset"] == job.stage.config.subset
        assert sum(summary["counts"].values()) == len(table)
        assert summary["counts"]["right"] == correct.sum()
        low, high = (summary["intervals"]["sa"][side] for side in ("low", "high"))
        assert 0 <= low <= correct.mean() <= high <= 1
        assert (summary["key"], summary["parent"], summary["split"]) == ("a" * 12, "b" * 12, "test")
        assert "batch_size" not in summary["settings"]
        if name in ("pgd", "autopgd"):
            robust = np.array([r["robust"] == "1" for r in table])
            assert summary["metrics"]["ra"] == pytest.approx(robust.mean())
        if name == "certify":
            radius = np.array([float(r["radius"]) for r in table])
            assert summary["metrics"]["acr"] == pytest.approx(math.fsum(radius * correct) / len(table))
            assert summary["metrics"]["ra"] is None  # 0.5 is beyond 0.22, the largest radius
            assert summary["noise_backend"] and len(summary["weights"]) == 64


def test_validation_images_can_be_evaluated(model_file, tmp_path):
    dataset = dataclasses.replace(CONFIG.dataset, validation_fraction=0.1, evaluate_on="validation")
    job = make_job("clean", tmp_path, model_file, dataset=dataset, subset=None)
    run(job)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["split"] == "validation" and 90 <= summary["num_images"] <= 110


# ---------------------------------------------------------------- what is refused, what is flagged


def shifted_labels(tmp_path):
    """Save a model whose classes are in another order than the data set's."""
    model = fitted_model()
    with torch.no_grad():
        model.backbone.fc.weight.copy_(model.backbone.fc.weight.roll(1, 0))
        model.backbone.fc.bias.copy_(model.backbone.fc.bias.roll(1, 0))
    return save(model, tmp_path / "shifted.safetensors")


@pytest.mark.parametrize(("subset", "flagged"), [(199, False), (200, True)])
def test_an_accuracy_near_chance_is_flagged(tmp_path, subset, flagged):
    job = make_job("clean", tmp_path / "eval", shifted_labels(tmp_path), subset=subset)
    run(job)
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert summary["metrics"]["sa"] < 0.2
    assert [flag.split(":")[0] for flag in summary["flags"]] == (["near chance"] if flagged else [])


def test_a_good_model_is_not_flagged(model_file, tmp_path):
    job = make_job("clean", tmp_path, model_file, subset=200)
    run(job)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["metrics"]["sa"] > 0.4 and summary["flags"] == []


@pytest.mark.parametrize("name", SMALL)
def test_a_head_of_another_size_is_refused(name, tmp_path):
    job = make_job(name, tmp_path / "eval", save(fitted_model(7), tmp_path / "seven.safetensors"))
    with pytest.raises(CheckpointError, match=r"head has 7 classes \(expected 10, as dataset 'digits'\)"):
        run(job)
    assert list((tmp_path / "eval").iterdir()) == []


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory):
    """Return a model whose weights are finite and whose logits are not."""
    model = fitted_model()
    with torch.no_grad():
        model.backbone.bn1.weight.mul_(1e30)
        model.backbone.fc.weight.mul_(1e30)
    return save(model, tmp_path_factory.mktemp("overflow") / "model.safetensors")


@pytest.mark.parametrize("name", SMALL)
def test_logits_that_are_not_finite_stop_an_evaluation(overflowing, name, tmp_path):
    job = make_job(name, tmp_path, overflowing)
    with pytest.raises(EvaluationError, match="finite"):
        run(job)
    assert not (tmp_path / "records.csv").exists() and not (tmp_path / "summary.json").exists()


def test_certify_lets_them_vote_for_no_class_when_told_to(overflowing, tmp_path):
    job = make_job("certify", tmp_path, overflowing, allow_nonfinite=True)
    run(job)
    table = records(job)
    assert {r["guess"] for r in table} <= {"-1", *map(str, range(10))}
    assert all(int(r["nonfinite"]) > 0 for r in table)
    assert all(r["prediction"] == "-1" and r["correct"] == "0" for r in table if r["guess"] == "-1")
