"""Steps and passes by hand; hours from what finished stages took."""

import json

import pytest
import yaml

from robust_transfer.cli import compose, launching
from robust_transfer.cli.train import main
from robust_transfer.pipeline import cost
from small_model import small_model
from tiny_runs import shipped_configs


def stages(*words):
    with shipped_configs():
        (job,) = launching.planned(compose.read("train", list(words), multirun=False))
    return {stage.kind: stage for stage in job.stages}


def test_training_steps_follow_from_the_catalogue():
    finetune = stages("pretrain=none", "finetune=at", "dataset=pets")["finetune"]
    assert cost.total_steps(finetune) == 150 * (3680 // 64)
    shots = stages("pretrain=none", "finetune=cr", "dataset=pets", "dataset.shots=4")["finetune"]
    assert cost.total_steps(shots) == 150 * (4 * 37 // 32)
    capped = stages("pretrain=none", "finetune=cr", "dataset=pets", "finetune.max_steps=7")["finetune"]
    assert cost.total_steps(capped) == 7


@pytest.mark.parametrize(
    ("method", "units"),
    [("st", 3), ("st_linear", 1), ("at", 3 * 2 + 3), ("cr", 2 * 3)],
)
def test_passes_of_a_training_step(method, units):
    finetune = stages("pretrain=none", f"finetune={method}", "dataset=pets")["finetune"]
    batch = finetune.config.batch_size
    assert cost.passes(finetune) == 150 * (3680 // batch) * batch * units


@pytest.mark.parametrize(
    ("words", "per_image", "images"),
    [
        (["certify"], 100_100, 500),
        (["certify", "certify.sigma=0", "certify.allow_sigma_mismatch=true"], 1, 500),
        (["autopgd", "autopgd.num_restarts=5"], 1 + 2 * 101 * 5, 3669),
        (["pgd", "pgd.subset=10"], 1 + 2 * 21, 10),
        (["clean"], 1, 3669),
    ],
)
def test_passes_of_an_evaluation(words, per_image, images):
    evaluator, *rest = words
    stage = stages("pretrain=none", "finetune=cr", "dataset=pets", f"evaluators=[{evaluator}]", *rest)["eval"]
    assert cost.passes(stage) == per_image * images


def test_a_plateau_alone_has_no_known_end():
    words = ["finetune.schedule=plateau", "finetune.epochs=null", "dataset.validation_fraction=0.1"]
    finetune = stages("pretrain=none", "finetune=at", "dataset=pets", *words)["finetune"]
    assert cost.cost(finetune, cost.Rate(1.0)) == cost.Cost(None, None, None, None, None)


def test_hours_come_from_a_finished_stage_of_the_same_recipe(tmp_path):
    finetune = stages("pretrain=none", "finetune=at", "dataset=pets")["finetune"]
    other = stages("pretrain=none", "finetune=at", "dataset=dtd")["finetune"]
    directory = finetune.directory(tmp_path)
    directory.path.mkdir(parents=True)
    (directory.path / "config.yaml").write_text(yaml.safe_dump({"identity": finetune.identity}))
    amount = cost.passes(finetune)
    status = {"state": "done", "wall_seconds": amount / 100, "passes": amount, "peak_memory_bytes": 5}
    status["lineage"] = finetune.lineage.values()
    (directory.path / "status.json").write_text(json.dumps(status))
    rate = cost.finished_rates(tmp_path)[cost.recipe(other.identity, other.lineage)]
    estimate = cost.cost(other, rate)
    assert estimate.hours == pytest.approx(cost.passes(other) / 100 / 3600)
    assert estimate.memory_bytes == 5 and estimate.disk_bytes > 0
    cheaper = stages("pretrain=none", "finetune=cr", "dataset=dtd")["finetune"]
    assert cost.recipe(cheaper.identity, cheaper.lineage) not in cost.finished_rates(tmp_path)
    (directory.path / "status.json").write_text(json.dumps({**status, "marks": ["smoke"]}))
    assert cost.finished_rates(tmp_path) == {}  # a few generated images tell nothing of the real ones


def test_stages_of_the_last_machine_tell_and_only_this_one_s_where_it_is_named(tmp_path, capsys):
    words = ["pretrain=none", "finetune=at", "dataset=pets", f"store={tmp_path}"]
    for seed, device, finished, rate in [
        (0, "cpu", 10.0, 1.0),
        (1, "a GPU", 30.0, 0.01),
        (2, "cpu", 20.0, 2.0),
    ]:
        stage = stages(*words, f"seed={seed}")["finetune"]
        directory = stage.directory(tmp_path)
        directory.path.mkdir(parents=True)
        (directory.path / "config.yaml").write_text(yaml.safe_dump({"identity": stage.identity}))
        amount = cost.passes(stage)
        status = {"state": "done", "wall_seconds": amount * rate, "passes": amount, "finished": finished}
        status |= {"lineage": stage.lineage.values(), "device": device}
        (directory.path / "status.json").write_text(json.dumps(status))
    name = cost.recipe(stage.identity, stage.lineage)
    assert cost.finished_rates(tmp_path)[name].seconds_per_pass == pytest.approx(0.01)
    assert cost.finished_rates(tmp_path, "cpu")[name].seconds_per_pass == pytest.approx(1.5)
    assert cost.finished_rates(tmp_path, "another GPU") == {}
    main([*words, "seed=3", "--plan"])
    assert "timed on: a GPU." in capsys.readouterr().out.splitlines()


def test_certificates_that_stop_early_and_those_that_do_not_are_two_recipes():
    words = ["pretrain=none", "finetune=cr", "dataset=pets", "evaluators=[certify]"]
    decide, exact = (stages(*words, f"certify/mode={mode}")["eval"] for mode in ("decide", "exact"))
    assert cost.recipe(decide.identity, decide.lineage) != cost.recipe(exact.identity, exact.lineage)
    again = stages(*words, "certify/mode=decide", "seed=1")["eval"]
    assert cost.recipe(decide.identity, decide.lineage) == cost.recipe(again.identity, again.lineage)


def test_reading_a_checkpoint_costs_nothing(tmp_path):
    from robust_transfer.models import save_model

    model = small_model(10, width=4)
    save_model(tmp_path / "weights.safetensors", model)
    planned = stages(
        "pretrain=checkpoint",
        f"pretrain.path={tmp_path}/weights.safetensors",
        "finetune=st",
        "dataset=digits",
        "model=resnet18_small",
        "model.width=4",
        "model.image_size=8",
    )["pretrain"]
    assert cost.passes(planned) == 0
    assert cost.cost(planned, None).hours == 0
