"""rt-eval linear_probe: the last layer of a pre-training, under rt-train's keys, for stages and for files."""

import contextlib
import csv
import io
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from robust_transfer.cli.evaluate import main as evaluate
from robust_transfer.cli.train import main as train
from robust_transfer.data import open_dataset
from robust_transfer.models import load_model
from tiny_runs import snapshot, tiny

pytestmark = pytest.mark.slow
PROBE = {
    "max_steps": "40",
    "batch_size": "20",
    "lr": "0.5",
    "epochs": "90",
    "nesterov": "true",
    "weight_decay": "0.0",
    "schedule": "cosine",
}
DATA = ["dataset=digits", "dataset.shots=10", "clean.subset=100", "runtime.device=cpu"]


def words(checkpoint, store, *more):
    settings = [f"linear_probe.{name}={value}" for name, value in PROBE.items()]
    return ["linear_probe", f"checkpoint={checkpoint}", *DATA, *settings, f"store={store}", *more]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    store = tmp_path_factory.mktemp("pretrained")
    assert train(tiny("simclr", "st", store, "until=pretrain")) == 0
    [stage] = (store / "pretrain").iterdir()
    return stage


@pytest.fixture(scope="module")
def probed(pretrained, tmp_path_factory):
    """Return a store with a pre-training and its probe, and what the command printed."""
    store = tmp_path_factory.mktemp("probed") / "store"
    shutil.copytree(pretrained.parents[1], store)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert evaluate(words(store / "pretrain" / pretrained.name, store)) == 0
    return store, out.getvalue()


@pytest.fixture
def stage(pretrained, tmp_path):
    shutil.copytree(pretrained.parents[1], tmp_path / "store")
    return tmp_path / "store" / "pretrain" / pretrained.name


def only(folder):
    [found] = folder.iterdir()
    return found


def test_the_probe_trains_the_last_layer_alone_and_measures_it(probed):
    store, out = probed
    assert "simclr -> st_linear" in out and "  clean  " in out
    before, after = (
        load_file(path / "model.safetensors") for path in (only(store / "pretrain"), only(store / "finetune"))
    )
    same = {name for name in after if name in before and torch.equal(before[name], after[name])}
    assert after.keys() - same == {"fc.weight", "fc.bias"}
    model = load_model(only(store / "finetune") / "model.safetensors")
    dataset = open_dataset("digits", "data", "test")
    with open(only(store / "eval") / "records.csv", newline="") as stream:
        records = list(csv.DictReader(stream))
    right = 0
    for row in records:
        image, label = dataset[int(row["index"])]
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
        (logits,) = model(pixels)
        first, second = logits.topk(2).values
        assert label == int(row["label"])
        if first - second > 1e-3 * first.abs():  # of two that are nearly equal either may come first
            assert int(logits.argmax()) == int(row["prediction"])
        right += int(row["prediction"]) == label
    assert f"{100 * right / len(records):.1f}" in out and right > 2 * len(records) / 10


def test_it_shares_its_stages_with_rt_train(stage, capsys):
    store = stage.parents[1]
    finetune = [f"finetune.{name}={value}" for name, value in PROBE.items()]
    more = ["dataset.shots=10", "clean.subset=100", "evaluators=[clean]", *finetune]
    assert train(tiny("simclr", "st_linear", store, *more)) == 0
    before = snapshot(store)
    capsys.readouterr()
    key = stage.name.rsplit("-", 1)[1]
    assert evaluate(words(key, store, "--plan")) == 0
    assert capsys.readouterr().out.count("done") == 2
    assert evaluate(words(key, store)) == 0
    after = snapshot(store)
    assert {name: what for name, what in after.items() if not name.startswith(".")} == before


def test_a_file_goes_through_the_import_stage(probed, pretrained, tmp_path, capsys):
    file = shutil.copy(pretrained / "model.safetensors", tmp_path / "found.safetensors")
    store = tmp_path / "other"
    model = ["model=resnet18_small", "model.width=4", "model.image_size=8"]
    assert evaluate(words(file, store, *model)) == 0
    assert "checkpoint -> st_linear" in capsys.readouterr().out
    assert only(store / "pretrain").name.startswith("checkpoint-resnet18_small-")
    assert only(store / "finetune").name.startswith("st_linear-digits-checkpoint-resnet18_small-")
    # The same weights, whether they come as a stage or as a file: the same last layer.
    probes = [load_file(only(root / "finetune") / "model.safetensors") for root in (store, probed[0])]
    assert all(torch.equal(tensor, probes[1][name]) for name, tensor in probes[0].items())


def test_what_is_fine_tuned_already_is_refused(probed, capsys):
    store, _ = probed
    assert evaluate(words(only(store / "finetune"), store)) == 2
    error = capsys.readouterr().err
    assert "linear_probe evaluates a pre-training (found a model fine-tuned by st_linear)" in error


def test_help_and_misspelling_know_it(capsys):
    assert evaluate(["--help"]) == 0
    assert "  linear_probe " in capsys.readouterr().out
    assert evaluate(["linear_prob", "checkpoint=x", "dataset=digits"]) == 2
    assert "did you mean 'linear_probe'?" in capsys.readouterr().err
