import dataclasses
import itertools
import json
import multiprocessing

import pytest
import torch
from sklearn.datasets import load_digits

from robust_transfer.core.errors import ConfigError
from robust_transfer.distributed.context import single
from robust_transfer.models.checkpoint import load_model, save_model
from robust_transfer.models.metadata import read_metadata
from robust_transfer.models.modes import eval_mode
from robust_transfer.models.normalized import Classifier, build_model
from robust_transfer.training import job as module
from robust_transfer.training.job import train
from training_jobs import make_job, make_method, make_runtime, plateau

CONTEXT = single("cpu")


def tensors(directory):
    return load_model(directory / "model.safetensors").state_dict()


def parent_of(tmp_path, **changes):
    values = {"arch": "resnet18_small", "width": 4, "image_size": 8, "normalize": "none", "seed": 7}
    names = ["x", "y"]
    model = build_model(num_classes=2, class_names=names, **{**values, **changes})
    with torch.no_grad():
        model.backbone.bn1.running_mean.fill_(0.25)
    save_model(tmp_path / "parent.safetensors", model, key="f" * 12)
    return tmp_path / "parent.safetensors"


def test_the_report_and_the_files_of_a_stage(tmp_path):
    totals = train(make_job("cr", tmp_path / "stage"), CONTEXT)
    assert (totals["steps"], totals["epochs"], totals["num_train_images"], totals["world_size"]) == (
        10,
        2,
        50,
        1,
    )
    assert totals["device"] == "cpu" and len(totals["fingerprint"]) == 64
    assert totals["images_per_second"] > 0 and totals["peak_memory_bytes"] > 0
    metadata = read_metadata(tmp_path / "stage" / "model.safetensors")
    assert metadata["train_sigma"] == 0.5 and metadata["key"] == "0" * 12
    assert metadata["class_names"] == [str(i) for i in range(10)] and metadata["image_size"] == 16
    assert sorted(p.name for p in (tmp_path / "stage").iterdir()) == [
        "last.pt",
        "metrics.jsonl",
        "model.safetensors",
    ]
    assert json.loads(json.dumps(totals)) == totals


def test_linear_fine_tuning_leaves_every_tensor_but_the_heads_unchanged(tmp_path):
    job = make_job("st_linear", tmp_path / "stage", parent=parent_of(tmp_path))
    train(job, CONTEXT)
    before, after = load_model(job.parent.path).state_dict(), tensors(tmp_path / "stage")
    assert set(before) == set(after)
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert changed == ["backbone.fc.weight", "backbone.fc.bias"]
    assert read_metadata(tmp_path / "stage" / "model.safetensors")["train_sigma"] == 0.0


def test_simclr_saves_features_and_fine_tuning_puts_a_head_on_them(tmp_path):
    train(make_job("simclr", tmp_path / "pretrain"), CONTEXT)
    path = tmp_path / "pretrain" / "model.safetensors"
    assert read_metadata(path)["num_classes"] == 0
    assert not [name for name in tensors(tmp_path / "pretrain") if "fc" in name or "head" in name]
    job = make_job("st", tmp_path / "finetune", parent=path)
    train(job, CONTEXT)
    assert tensors(tmp_path / "finetune")["backbone.fc.weight"].shape == (10, 32)


@pytest.mark.slow
@pytest.mark.parametrize("augment_on", ["cpu", "device"])
def test_equal_jobs_give_equal_bytes_also_with_workers(augment_on, tmp_path):
    for name, workers in (("a", 0), ("b", 0), ("c", 2)):
        runtime = make_runtime(num_workers=workers)
        train(make_job("simclr", tmp_path / name, runtime=runtime, epochs=1, augment_on=augment_on), CONTEXT)
    contents = {(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert len(contents) == 1
    train(make_job("simclr", tmp_path / "d", epochs=1, seed=1, augment_on=augment_on), CONTEXT)
    assert (tmp_path / "d" / "model.safetensors").read_bytes() not in contents


def test_views_finished_on_the_device_are_the_same_after_a_stop_inside_an_epoch(tmp_path, monkeypatch):
    job = make_job("simclr", tmp_path / "whole", augment_on="device")
    train(job, CONTEXT)
    cut = dataclasses.replace(job, directory=tmp_path / "cut")

    def broken(batches, dataset):
        yield from itertools.islice(batches, 7)  # 5 steps an epoch, a checkpoint every 4
        raise InterruptedError

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(module, "_warn_of_unreadable", broken)
        train(cut, CONTEXT)
    train(cut, CONTEXT)
    found, wanted = ((tmp_path / part / "model.safetensors").read_bytes() for part in ("cut", "whole"))
    assert found == wanted
    train(make_job("simclr", tmp_path / "eight bits"), CONTEXT)
    assert (tmp_path / "eight bits" / "model.safetensors").read_bytes() != wanted


def test_a_kept_head_is_where_the_second_stage_starts_and_fits_its_classes(tmp_path):
    first = make_job("at_linear", tmp_path / "first", max_steps=2)
    train(first, CONTEXT)
    parent = first.directory / "model.safetensors"
    job = make_job("at", tmp_path / "second", parent=parent, keep_head=True)
    data = module.open_split(job.stage.dataset, job.data, "train", generated=None)
    wanted, found = load_model(parent).state_dict(), module._starting_model(job, data).state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(ConfigError, match=r"head of .* is for 2 other classes \(expected the 10"):
        module._starting_model(make_job("at", tmp_path, parent=parent_of(tmp_path), keep_head=True), data)


def test_a_parent_of_another_architecture_is_refused(tmp_path):
    job = make_job("st", tmp_path, parent=parent_of(tmp_path, width=2))
    with pytest.raises(ConfigError, match=r"of width 2 \(expected resnet18_small of width 4\)"):
        train(job, CONTEXT)


def test_plateau_needs_held_out_images_and_labels(tmp_path):
    with pytest.raises(ConfigError, match="validation_fraction is 0"):
        train(make_job("at", tmp_path / "a", schedule=plateau()), CONTEXT)
    with pytest.raises(ConfigError, match="labels, which simclr does not use"):
        make_method("simclr", schedule=plateau()).check("pretrain")


def plateau_job(name, directory, **changes):
    schedule = plateau(patience=1, drops=0)
    return make_job(name, directory, schedule=schedule, epochs=None, validation_fraction=0.02, **changes)


def test_plateau_ends_by_itself_on_the_held_out_part(tmp_path):
    totals = train(plateau_job("st", tmp_path, lr=0.001), CONTEXT)
    scores = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    by_epoch = [line["validation_accuracy"] for line in scores if line["step"] % 5 == 0]
    # Patience 1 and no drop: every epoch but the last was a new best.
    assert totals["epochs"] == len(by_epoch)
    assert by_epoch[:-1] == sorted(set(by_epoch[:-1])) and by_epoch[-1] <= by_epoch[-2]


def test_the_score_is_the_accuracy_of_the_model_in_eval_mode(tmp_path):
    job = plateau_job("st", tmp_path)
    objective = module.build(job.stage.config)
    score = module._validation(job, objective, CONTEXT)
    model = module._starting_model(job, module.open_split(job.stage.dataset, job.data, "train")).train()
    held_out = module.open_split(job.stage.dataset, job.data, "validation")
    transform = module.eval_transform(16, whole=True)
    images = torch.stack([transform(held_out[i][0]) for i in range(len(held_out))]) / 255
    with eval_mode(model), torch.no_grad():
        expected = (model(images).argmax(1) == torch.tensor(held_out.labels)).double().mean().item()
    assert 0 < len(held_out) < len(load_digits().target) / 20
    assert score(model) == pytest.approx(expected) and model.training


def test_adversarial_and_noisy_scores_use_the_methods_own_perturbation(tmp_path):
    for name in ("at", "cr"):
        job = plateau_job(name, tmp_path / name)
        objective, asked = module.build(job.stage.config), []
        objective.perturbed = lambda model, batch, noise, asked=asked: (
            asked.append((noise.epoch, noise.indices)) or 1 - batch.images[0]
        )
        model = module._starting_model(job, module.open_split(job.stage.dataset, job.data, "train"))
        held_out = module.open_split(job.stage.dataset, job.data, "validation")
        transform = module.eval_transform(16, whole=True)
        images = torch.stack([transform(held_out[i][0]) for i in range(len(held_out))]) / 255
        with eval_mode(model), torch.no_grad():
            expected = (model(1 - images).argmax(1) == torch.tensor(held_out.labels)).double().mean().item()
        assert module._validation(job, objective, CONTEXT)(model) == pytest.approx(expected)
        assert {epoch for epoch, _ in asked} == {-1}
        assert sorted(i for _, indices in asked for i in indices) == list(range(len(held_out)))


@pytest.mark.slow
def test_validation_takes_no_more_images_at_once_than_training(tmp_path, monkeypatch):
    passed, forward = [], Classifier.forward
    monkeypatch.setattr(
        Classifier, "forward", lambda self, images: passed.append(len(images)) or forward(self, images)
    )
    job = plateau_job("at", tmp_path, batch_size=10, micro_batch=2)
    train(job, CONTEXT)
    assert max(passed) == 2


def test_workers_that_read_the_held_out_images_stay_from_epoch_to_epoch(tmp_path):
    scores = []
    for workers in (0, 1):
        job = plateau_job("st", tmp_path, runtime=make_runtime(num_workers=workers))
        objective = module.build(job.stage.config)
        validate = module._validation(job, objective, CONTEXT)
        model = module._starting_model(job, module.open_split(job.stage.dataset, job.data, "train"))
        before = {child.pid for child in multiprocessing.active_children()}
        scores.append([validate(model), validate(model)])
        started = {child.pid for child in multiprocessing.active_children()} - before
        assert len(started) == workers
    assert len({score for pair in scores for score in pair}) == 1


def test_too_little_memory_names_the_ways_out(tmp_path, monkeypatch):
    def fit(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(ConfigError, match="no memory left on cpu for 10 images per device") as caught:
        train(make_job("simclr", tmp_path), CONTEXT)
    assert "activation_checkpointing" in caught.value.hints[0]
    assert "bf16" in caught.value.hints[1] and "micro_batch" in caught.value.hints[1]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "no memory left",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "no memory left"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "no memory left",
        ),
        (MemoryError(), "no memory left"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "no shared memory left"),
    ],
)
def test_every_form_of_too_little_memory_is_known(error, text, tmp_path, monkeypatch):
    def fit(*args, **options):
        raise error

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(ConfigError, match=text):
        train(make_job("st", tmp_path), CONTEXT)


def test_another_error_stays_what_it_is(tmp_path, monkeypatch):
    def fit(*args, **options):
        raise RuntimeError("shape '[2]' is invalid")

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(RuntimeError, match="is invalid"):
        train(make_job("st", tmp_path), CONTEXT)
