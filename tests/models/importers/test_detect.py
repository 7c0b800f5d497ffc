import pytest
import torch

from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.models.importers.detect import FORMATS, choose_format
from robust_transfer.models.safe_load import LoadedFile


def chosen(keys, name="auto", container="zip", **top):
    tensors = {key: torch.zeros(1) for key in keys}
    root = {"state_dict": tensors, **top} if top else tensors
    source, view, warnings = choose_format(LoadedFile(root, container, "weights_only"), name, "FILE")
    return source.name, sorted(view.tensors), warnings


def test_two_formats_that_could_both_match_are_reported():
    assert chosen(["backbone.conv1.weight"], name="lightly")[0] == "lightly"
    with pytest.raises(CheckpointError, match=r"ambiguous: it could be robustness or robustbench") as caught:
        chosen(["model.conv1.weight", "attacker.model.conv1.weight", "normalize.mean"])
    assert caught.value.hints == ("say which: pretrain.format=robustness (rt-eval: format=...)",)


def test_bare_keys_are_taken_with_a_warning_that_names_the_others():
    name, _, (warning,) = chosen(["conv1.weight", "fc.weight"])
    assert name == "torchvision" and "timm and simclr" in warning
    name, _, (warning,) = chosen(["conv1.weight", "fc.weight"], container="safetensors")
    assert name == "timm" and "torchvision and simclr" in warning
    assert chosen(["conv1.weight"], name="simclr")[2] == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["1.conv1.weight", "1.fc.weight"], "smoothing"),
        (["_orig_mod.1.module.conv1.weight"], "smoothing"),
        (["backbone.conv1.weight", "projector.0.weight"], "solo-learn"),
        (["module.backbone.conv1.weight", "module.prediction_head.layers.0.weight"], "lightly"),
        (["module.encoder_q.conv1.weight", "module.encoder_k.conv1.weight"], "moco"),
        (["normalize.mean", "normalize.std", "model.conv1.weight"], "robustbench"),
        (["normalizer.new_mean", "model.conv1.weight"], "robustness"),
    ],
)
def test_marks_in_the_keys_tell_the_format(keys, expected):
    assert chosen(keys)[0] == expected
    assert chosen(keys, epoch=3)[0] == expected


def test_averaged_weights_come_first():
    average = {"conv1.weight": torch.ones(1), "fc._orig_mod.weight": torch.ones(1)}
    top = {"state_dict_ema": average, "arch": "resnet50"}
    name, keys, _ = chosen(["other.weight"], **top)
    assert name == "timm" and keys == ["conv1.weight", "fc.weight"]


def test_unknown_files_and_formats_are_named():
    with pytest.raises(CheckpointError, match=r"of no known format \(found keys blocks, patch_embed\)"):
        chosen(["patch_embed.proj.weight", "blocks.0.norm.weight"])
    stem = ["conv1.0.weight", "conv1.3.weight", "bn1.weight", "layer1.0.conv1.weight"]
    root = {key: torch.zeros(1, 1, 1, 1) for key in stem}
    with pytest.raises(CheckpointError, match="stem of several convolutions"):
        choose_format(LoadedFile(root, "zip", "weights_only"), "auto", "FILE")
    with pytest.raises(ConfigError, match="did you mean 'torchvision'"):
        chosen(["conv1.weight"], name="torchvison")
    with pytest.raises(CheckpointError, match="has no weights where vissl keeps them"):
        choose_format(LoadedFile({"epoch": 3}, "zip", "weights_only"), "vissl", "FILE")


def test_every_format_is_listed_under_its_name():
    assert all(name == each.name for name, each in FORMATS.items()) and len(FORMATS) == 16
