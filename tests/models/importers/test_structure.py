"""Files that no format knows: the network is found by what it is, or the user is told how to name it."""

import json
import re

import numpy
import pytest
import safetensors.torch
import torch
from torch.nn.utils import prune

from robust_transfer.core import rng
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import describe_file, import_checkpoint
from robust_transfer.models.importers import content_sha256

SMALL = {"arch": "resnet18_small", "width": 8, "image_size": 32, "normalize": "none"}


@pytest.fixture
def saved(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "file")
        return tmp_path / "file"

    return save


def below(state, prefix, factor=1):
    return {prefix + k: t * factor if t.is_floating_point() else t for k, t in state.items()}


def stem(model):
    return model.backbone.conv1.weight


def test_several_networks_in_a_state_dict_are_listed_and_one_is_taken_by_prefix(network, saved):
    state = network.state_dict()
    path = saved({"state_dict": {**below(state, "student."), **below(state, "teacher.net.", 2)}})
    with pytest.raises(CheckpointError, match=r"several networks, below student., teacher.net.") as caught:
        import_checkpoint(path, **SMALL)
    assert caught.value.hints == ("say which: pretrain.prefix=student. (rt-eval: prefix=student.)",)
    model, _ = import_checkpoint(path, **SMALL, prefix="teacher.net.", keep_head=True)
    assert torch.equal(stem(model), 2 * network.conv1.weight)


def test_several_state_dicts_are_listed_and_one_is_taken_by_part(network, saved):
    state = network.state_dict()
    path = saved({"student": below(state, "module.backbone."), "teacher": below(state, "backbone.", 2)})
    with pytest.raises(CheckpointError, match=r"several networks: student, teacher") as caught:
        import_checkpoint(path, **SMALL)
    assert caught.value.hints == ("say which: pretrain.part=student (rt-eval: part=student)",)
    model, report = import_checkpoint(path, **SMALL, part="teacher")
    assert torch.equal(stem(model), 2 * network.conv1.weight) and report.others == ["student"]
    with pytest.raises(CheckpointError, match=r"no state_dict 'ema' \(found student, teacher\)"):
        import_checkpoint(path, **SMALL, part="ema")


@pytest.mark.parametrize("name", ["ema", "ema_state_dict"])
def test_averaged_weights_that_are_not_taken_are_reported(network, saved, name):
    state = network.state_dict()
    path = saved({"state_dict": state, name: below(state, "", 2), "optimizer": {"state": {0: {"step": 3}}}})
    model, report = import_checkpoint(path, **SMALL)
    assert torch.equal(stem(model), network.conv1.weight) and report.others == [name]
    assert f"  also in the file, not taken: {name} (pretrain.part=NAME)" in report.lines()
    model, _ = import_checkpoint(path, **SMALL, part=name)
    assert torch.equal(stem(model), 2 * network.conv1.weight)


def test_pruned_weights_are_multiplied_by_their_masks(network, saved):
    import copy

    pruned = copy.deepcopy(network)
    prune.l1_unstructured(pruned.layer1[0].conv1, "weight", amount=0.3)
    model, _ = import_checkpoint(saved(pruned.state_dict()), **SMALL)
    weight = model.backbone.layer1[0].conv1.weight
    assert torch.equal(weight, pruned.layer1[0].conv1.weight)
    assert (weight == 0).sum() == round(0.3 * weight.numel())


def test_the_files_precision_is_said(network, saved):
    path = saved({k: t.half() if t.is_floating_point() else t for k, t in network.state_dict().items()})
    model, report = import_checkpoint(path, **SMALL)
    assert torch.equal(stem(model), network.conv1.weight.half().float())
    assert "  precision: float16 in the file, converted to float32" in report.lines()


def test_a_head_without_bias_has_zeros_and_it_is_said(network, saved):
    path = saved({k: t for k, t in network.state_dict().items() if k != "fc.bias"})
    model, report = import_checkpoint(path, **SMALL, keep_head=True)
    assert torch.equal(model.backbone.fc.weight, network.fc.weight) and not model.backbone.fc.bias.any()
    assert "the head has no bias: zeros" in report.warnings


def test_a_head_of_two_layers_is_not_taken_for_a_linear_one(network, saved):
    state = {k: t for k, t in network.state_dict().items() if not k.startswith("fc.")}
    path = saved({**state, "fc.0.weight": torch.ones(64, 64), "fc.2.weight": torch.ones(10, 64)})
    assert import_checkpoint(path, **SMALL)[1].head == "absent"


def test_statistics_of_images_in_0_to_255_are_refused(network, saved):
    state = network.state_dict()
    wrong = {"mean": torch.tensor([123.7, 116.3, 103.5]), "std": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"images in 0..255(.|\n)*divide mean and std by 255"):
        import_checkpoint(saved({**state, **wrong}), **{**SMALL, "normalize": None})


def test_the_clean_batchnorms_of_robust_pretraining_can_be_chosen(network, saved):
    state = {}
    for name, tensor in network.state_dict().items():
        if ".bn" in f".{name}" and "downsample" not in name:
            layer, _, rest = name.rpartition(".")
            state |= {f"{layer}.bn_list.0.{rest}": tensor, f"{layer}.bn_list.1.{rest}": tensor + 1}
        else:
            state[name] = tensor
    path = saved({"state_dict": state})
    adversarial, report = import_checkpoint(path, **SMALL)
    clean, _ = import_checkpoint(path, **SMALL, format="robust-ssl-clean")
    assert report.format == "robust-ssl"
    assert torch.equal(clean.backbone.bn1.weight, network.bn1.weight)
    assert torch.equal(adversarial.backbone.bn1.weight, network.bn1.weight + 1)


def test_a_network_that_takes_blue_first_is_turned_round(network, saved):
    statistics = {"mean": torch.tensor([0.1, 0.2, 0.3]), "std": torch.tensor([0.4, 0.5, 0.6])}
    path = saved({**network.state_dict(), **statistics})
    options = {**SMALL, "normalize": None, "keep_head": True}
    rgb, _ = import_checkpoint(path, **options)
    bgr, report = import_checkpoint(path, **options, channels="bgr")
    images = torch.rand((2, 3, 32, 32), generator=rng.generator(0, "bgr"))
    assert torch.allclose(bgr(images), rgb(images.flip(1)), atol=1e-4)
    assert "flipped to take RGB" in "\n".join(report.lines())


def test_numpy_archives_are_read_without_pickles(network, tmp_path):
    numpy.savez(tmp_path / "weights.npz", **{k: t.numpy() for k, t in network.state_dict().items()})
    model, report = import_checkpoint(tmp_path / "weights.npz", **SMALL)
    assert torch.equal(stem(model), network.conv1.weight) and report.reader == "numpy"
    numpy.savez(tmp_path / "objects.npz", a=numpy.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        import_checkpoint(tmp_path / "objects.npz", **SMALL)


def test_shards_of_a_hub_folder_are_joined_and_one_that_is_missing_is_named(network, tmp_path):
    state = network.state_dict()
    shard_of = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(state)}
    for file in sorted(set(shard_of.values())):
        safetensors.torch.save_file({k: state[k] for k in state if shard_of[k] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard_of}))
    described = describe_file(tmp_path)
    model, report = import_checkpoint(tmp_path, **SMALL, keep_head=True)
    assert torch.equal(model.backbone.fc.weight, network.fc.weight) and report.container == "shards"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(1)}, tmp_path / shard_of["conv1.weight"])
    assert content_sha256(tmp_path) != described["sha256"]
    with pytest.raises(CheckpointError, match="has no tensor"):
        import_checkpoint(tmp_path, **SMALL)
    (tmp_path / shard_of["conv1.weight"]).unlink()
    with pytest.raises(CheckpointError, match=r"has 1 of 2 shards \(missing model-00001"):
        import_checkpoint(tmp_path, **SMALL)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(CheckpointError, match="expected a file beside it"):
        import_checkpoint(tmp_path, **SMALL)


def test_a_transformers_folder_tells_its_statistics(network, tmp_path):
    state = {}
    names = {"0.": "convolution.", "1.": "normalization."}
    for key, tensor in network.state_dict().items():
        key = re.sub(r"^conv1\.", "embedder.embedder.convolution.", key)
        key = re.sub(r"^bn1\.", "embedder.embedder.normalization.", key)
        key = re.sub(r"downsample\.([01]\.)", lambda m: "shortcut." + names[m[1]], key)
        key = re.sub(r"\.conv(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.convolution.", key)
        key = re.sub(r"\.bn(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.normalization.", key)
        key = re.sub(r"^layer(\d)\.(\d)", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}", key)
        state["classifier.1." + key[3:] if key.startswith("fc.") else f"resnet.{key}"] = tensor
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    statistics = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(statistics))
    model, report = import_checkpoint(tmp_path, **{**SMALL, "normalize": None}, keep_head=True)
    assert (report.format, model.mean) == ("transformers", statistics["image_mean"])
    assert torch.equal(model.backbone.fc.weight, network.fc.weight)


def test_an_mmpretrain_file_keeps_its_head(network, saved):
    state = network.state_dict()
    body = below({k: t for k, t in state.items() if not k.startswith("fc.")}, "backbone.")
    head = {f"head.{k}": t for k, t in state.items() if k.startswith("fc.")}
    model, report = import_checkpoint(
        saved({"meta": {}, "state_dict": {**body, **head}}), **SMALL, keep_head=True
    )
    assert report.format == "mmpretrain" and torch.equal(model.backbone.fc.weight, network.fc.weight)
