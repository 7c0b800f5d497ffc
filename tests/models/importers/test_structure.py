"""Files that no format knows: the network is found by what it is, or the user is told how to name it."""

import pytest
import torch
from torch.nn.utils import prune

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import import_checkpoint

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
