"""Attack records against the public functions called by hand on the same images."""

import dataclasses
import json

import pytest
import torch

from evaluation_jobs import CONFIG, digit_pixels, fitted_model, make_job, records, run, run_shards, save
from robust_transfer.attacks import autopgd, pgd
from robust_transfer.evaluation import attack
from robust_transfer.evaluation import job as evaluation_job
from robust_transfer.models.fast import fast_inference
from robust_transfer.store.journal import Journal, read_journal

COMMON = ("norm", "eps", "num_steps", "num_restarts", "loss", "seed", "guards", "shapes")
FUNCTIONS = {
    "pgd": (pgd, (*COMMON, "step_size", "random_start")),
    "autopgd": (autopgd, (*COMMON, "num_eot")),
}
CASES = [
    ("pgd", {}),
    ("pgd", {"norm": "linf", "eps": 0.1, "random_start": False, "step_size": 0.03}),
    ("autopgd", {}),
    ("autopgd", {"eps": 0.3, "loss": "dlr", "num_restarts": 2, "seed": 3}),
]


def by_hand(name, job, indices, **options):
    function, names = FUNCTIONS[name]
    settings = {field: getattr(job.stage.config, field) for field in names}
    pixels, labels = digit_pixels()
    return function(
        fitted_model(), pixels[indices], labels[indices], index=indices, **{**settings, **options}
    )


def flags(table, column):
    return [row[column] == "1" for row in table]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_records_are_those_of_the_public_function(model_file, tmp_path, name, settings):
    job = make_job(name, tmp_path, model_file, **settings)
    run(job)
    table = records(job)
    indices = [int(r["index"]) for r in table]
    result = by_hand(
        name,
        job,
        indices,
        batch_size=job.stage.config.batch_size,
        gradient_model=fast_inference(fitted_model()),
    )
    assert flags(table, "robust") == result.robust.tolist()
    assert [int(r["clean_prediction"]) for r in table] == result.clean_prediction.tolist()
    assert [int(r["adversarial_prediction"]) for r in table] == result.adversarial_prediction.tolist()
    assert [float(r["distance"]) for r in table] == result.distance.tolist()
    assert [float(r["loss"]) for r in table] == result.loss.tolist()
    assert [int(r["gradient_steps"]) for r in table] == result.gradient_steps.tolist()
    assert any(flags(table, "correct")) and not all(flags(table, "robust"))


@pytest.mark.parametrize(("name", "settings"), [CASES[0], CASES[2]])
def test_gradients_of_the_model_itself_and_another_forward_shape_move_near_ties_alone(
    model_file, tmp_path, name, settings
):
    job = make_job(name, tmp_path / "8", model_file, **settings)
    run(job)
    table = records(job)
    ties = near_ties(job)
    result = by_hand(name, job, [int(r["index"]) for r in table], batch_size=5)
    other = make_job(name, tmp_path / "5", model_file, batch_size=5, **settings)
    run(other)
    for row, same, direct in zip(table, records(other), result.robust.tolist(), strict=True):
        if row["index"] not in ties | near_ties(other):
            assert row["robust"] == same["robust"] == str(int(direct))


def near_ties(job):
    return {
        row["index"] for row in read_journal(job.directory / "journal.0.csv")[1] if row["near_tie"] == "1"
    }


@pytest.mark.parametrize("name", ["pgd", "autopgd"])
def test_what_every_record_keeps(model_file, tmp_path, name):
    job = make_job(name, tmp_path, model_file, num_restarts=2)
    run(job)
    for row in records(job):
        right = row["clean_prediction"] == row["label"]
        assert row["correct"] == str(int(right))
        assert float(row["distance"]) <= 0.5 * (1 + 1e-6)
        assert 0 <= int(row["gradient_steps"]) <= 2 * (job.stage.config.num_steps + 1)
        if row["robust"] == "1":
            assert right and row["adversarial_prediction"] == row["label"]
        else:
            assert row["adversarial_prediction"] != row["label"]
        if not right:
            assert row["gradient_steps"] == "0" and row["robust"] == "0"


def test_images_handed_to_the_attack_in_parts_have_the_same_records(model_file, tmp_path, monkeypatch):
    whole = run(make_job("autopgd", tmp_path / "whole", model_file))
    monkeypatch.setattr(attack, "BATCHES_AT_ONCE", 1)
    assert run(make_job("autopgd", tmp_path / "parts", model_file)) == whole


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
def test_a_kill_in_the_middle_of_a_part_loses_no_finished_image(
    model_file, tmp_path, monkeypatch, arithmetic
):
    settings = {"arithmetic": arithmetic, "num_steps": 6, "batch_size": 4, "eps": 0.3}
    whole = run(make_job("autopgd", tmp_path / "whole", model_file, **settings))
    append, calls = Journal.append, []

    def killed_at_the_third(journal, rows):
        append(journal, rows)
        calls.append(rows)
        if len(calls) == 3:
            raise KeyboardInterrupt

    job = make_job("autopgd", tmp_path / "cut", model_file, **settings)
    monkeypatch.setattr(Journal, "append", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    monkeypatch.undo()
    kept = (job.directory / "journal.0.csv").read_text().splitlines()[2:]
    assert 0 < len(kept) < 20
    assert run(job) == whole
    assert (job.directory / "journal.0.csv").read_text().splitlines()[2 : 2 + len(kept)] == kept


def test_low_arithmetic_finds_hits_early_and_never_calls_an_image_robust(model_file, tmp_path):
    settings = {"eps": 0.1, "num_steps": 20}
    jobs = {
        k: make_job("autopgd", tmp_path / k, model_file, arithmetic=k, **settings) for k in ("fp32", "bf16")
    }
    for job in jobs.values():
        run(job)
    full, low = (flags(records(jobs[k]), "robust") for k in ("fp32", "bf16"))
    # What is robust after both attacks is robust to the full one: the same starts, image by image.
    assert all(a or not b for a, b in zip(full, low, strict=True)) and any(low)
    steps = [[int(r["gradient_steps"]) for r in records(jobs[k])] for k in ("fp32", "bf16")]
    # A robust image costs a tenth more, and the tenth is cheaper.
    assert all(a < b <= 1.1 * a + 1 for a, b, robust in zip(*steps, low, strict=True) if robust)


def test_low_arithmetic_alone_has_keys_of_its_own():
    """Its steps were cut to a tenth, and its stages were renamed for it: those in fp32 were not."""
    fp32 = CONFIG.evaluator_settings["autopgd"]
    assert fp32.recipe() == fp32.recipe_version
    assert dataclasses.replace(fp32, arithmetic="bf16").recipe() == 3


def test_settings_reach_the_attack(model_file, tmp_path):
    weak = make_job("pgd", tmp_path / "weak", model_file, eps=1e-3)
    run(weak)
    assert flags(records(weak), "robust") == flags(records(weak), "correct")
    settings = weak.stage.config
    assert dataclasses.replace(settings, eps=CONFIG.evaluator_settings["pgd"].eps) != settings
    strong = make_job("pgd", tmp_path / "strong", model_file, eps=3.0, num_steps=10)
    run(strong)
    assert not any(flags(records(strong), "robust"))


def test_a_whole_part_of_clean_mistakes_costs_no_gradient(tmp_path, model_file):
    job = make_job("pgd", tmp_path, model_file, subset=2, batch_size=1)
    run(job)
    assert len(records(job)) == 2 and torch.is_grad_enabled()


def test_the_ladder_of_shapes_moves_near_ties_alone(model_file, tmp_path):
    settings = {"eps": 0.3, "num_steps": 6, "batch_size": 16}
    jobs = [make_job("autopgd", tmp_path / s, model_file, shapes=s, **settings) for s in ("one", "ladder")]
    for job in jobs:
        run(job)
    ties = near_ties(jobs[0]) | near_ties(jobs[1])
    pairs = list(zip(*(records(job) for job in jobs), strict=True))
    assert all(a["robust"] == b["robust"] for a, b in pairs if a["index"] not in ties)


@pytest.mark.slow
def test_expected_accuracy_stands_where_gradients_are_averaged(model_file, tmp_path):
    """A fixed model's is 0 or 1, whatever `num_eot` asks for."""
    jobs = {k: make_job("autopgd", tmp_path / str(k), model_file, eps=0.1, num_eot=k) for k in (1, 2)}
    for job in jobs.values():
        run(job)
    once, averaged = (flags(records(job), "robust") for job in jobs.values())
    assert sum(a != b for a, b in zip(once, averaged, strict=True)) <= 2 and any(averaged)


def saturated_file(directory):
    """A model whose cross-entropy is flat on almost all images."""
    model = fitted_model()
    with torch.no_grad():
        model.backbone.fc.weight *= 1e4
        model.backbone.fc.bias *= 1e4
    return save(model, directory / "saturated.safetensors")


def stated(job):
    """Return the flags and the counts of a finished evaluation."""
    summary = json.loads((job.directory / "summary.json").read_text())
    return summary["flags"], summary["counts"]


@pytest.mark.slow
def test_flags_count_the_whole_run_however_it_was_cut(tmp_path, monkeypatch):
    """In parts of another size, by two processes, taken up again: the same flags and counts."""
    file = saturated_file(tmp_path)
    small = {"num_steps": 2, "guards": "full", "loss": "ce", "eps": 0.1}
    whole = make_job("autopgd", tmp_path / "whole", file, **small)
    run(whole)
    flags, counts = stated(whole)
    assert any(flag.startswith("saturated:") and " of 20 images" in flag for flag in flags)
    shards = make_job("autopgd", tmp_path / "shards", file, **small)
    run_shards(shards, 2)
    assert stated(shards) == (flags, counts)
    monkeypatch.setattr(evaluation_job, "PART", 9)
    cut = make_job("autopgd", tmp_path / "cut", file, **small)
    run(cut)
    path = cut.directory / "journal.0.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    monkeypatch.setattr(evaluation_job, "PART", 4)
    run(cut)
    assert stated(cut) == (flags, counts)
