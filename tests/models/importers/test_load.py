"""Every format reads back with equal weights, and one renamed tensor is refused.

`FILES` is written by hand after each source's key layout; the files further down are saved by the libraries
themselves (torch, torchvision, timm, lightly).
"""

import argparse
import re
import warnings

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import build_model, import_checkpoint, save_model
from robust_transfer.models.normalized import NORMALIZATIONS

SMALL = {"arch": "resnet18_small", "width": 8, "image_size": 32}
IMAGENET, CIFAR, NONE = (NORMALIZATIONS[name] for name in ("imagenet", "cifar", "none"))
OWN = ([0.125, 0.25, 0.5], [0.25, 0.5, 0.75])  # exact in float32


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def headless(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def classifier(state, prefix):
    return {prefix + name: state[f"fc.{name}"] for name in ("weight", "bias")}


def noise_like(state, prefix):
    """A second network's weights, as momentum copies are."""
    return {prefix + name: torch.zeros_like(tensor) for name, tensor in headless(state).items()}


def statistics(prefix, mean, std, shape):
    values = {mean: torch.tensor(OWN[0]).view(shape), std: torch.tensor(OWN[1]).view(shape)}
    return prefixed(values, prefix)


def numbered(state):
    """What Sequential(*children) makes of the names."""
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    split = ((*name.partition("."), tensor) for name, tensor in headless(state).items())
    return {numbers[first] + dot + rest: tensor for first, dot, rest, tensor in split}


def robustness(state):
    keys = {
        **prefixed(state, "module.model."),
        **prefixed(state, "module.attacker.model."),
        **statistics("module.normalizer.", "new_mean", "new_std", (3, 1, 1)),
        **statistics("module.attacker.normalize.", "new_mean", "new_std", (3, 1, 1)),
    }
    return {"model": keys, "epoch": 90, "schedule": None}


def robustbench(state):
    return {**statistics("normalize.", "mean", "std", (1, 3, 1, 1)), **prefixed(state, "model.")}


def smoothing(state, arch="resnet50"):
    return {"epoch": 90, "arch": arch, "state_dict": prefixed(state, "1.module."), "optimizer": {}}


def solo_learn(state, prefix="backbone."):
    keys = {
        **prefixed(headless(state), prefix),
        **classifier(state, "classifier."),
        "projector.0.weight": torch.zeros(4, 4),
        **noise_like(state, "momentum_backbone."),
    }
    return {"state_dict": keys, "hyper_parameters": argparse.Namespace(method="byol")}


def lightly(state, names=headless):
    keys = {
        **prefixed(names(state), "backbone."),
        "projection_head.layers.0.weight": torch.zeros(4, 4),
        **noise_like(state, "backbone_momentum."),
        **classifier(state, "online_classifier.classification_head."),
    }
    return {"state_dict": keys, "pytorch-lightning_version": "2.2.0"}


def transformers(state):
    """Hugging Face's names of a ResNet."""
    renamed = classifier(state, "classifier.1.")
    for name, tensor in headless(state).items():
        name = re.sub(r"^(conv1|bn1)\.", r"embedder.embedder.\1.", name)
        name = re.sub(r"^layer(\d)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.", name)
        name = name.replace("downsample.0", "shortcut.convolution").replace(
            "downsample.1", "shortcut.normalization"
        )
        name = re.sub(r"(layers\.\d+)\.(conv|bn)(\d)", lambda m: f"{m[1]}.layer.{int(m[3]) - 1}.{m[2]}", name)
        name = re.sub(r"\.conv1\.|\.conv\.", ".convolution.", name)
        renamed["resnet." + re.sub(r"\.bn1\.|\.bn\.", ".normalization.", name)] = tensor
    return renamed


def dual(state):
    """Two BatchNorms a layer; the first one's tensors are zeros."""
    tensors = {}
    for name, tensor in state.items():
        name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
        second = re.sub(r"\b(bn\d?)\.", r"\1.bn_list.1.", name)
        tensors[second] = tensor
        if second != name:
            tensors[second.replace("bn_list.1", "bn_list.0")] = torch.zeros_like(tensor)
    return tensors


def vissl(state):
    trunk = prefixed(headless(state), "_feature_blocks.")
    return {"classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": {}}}}, "phase_idx": 3}


def moco(state, query="encoder_q", key="encoder_k"):
    keys = {
        **prefixed(headless(state), f"module.{query}."),
        **noise_like(state, f"module.{key}."),
        f"module.{query}.fc.0.weight": torch.zeros(4, 4),
        f"module.{query}.fc.2.weight": torch.zeros(4, 4),
        "module.queue": torch.zeros(4, 8),
    }
    return {"epoch": 200, "arch": "resnet50", "state_dict": keys}


# name of the case: (what is saved, from torchvision's state_dict; the format found; normalisation; head)
FILES = {
    "bare": (lambda s: s, "torchvision", IMAGENET, "kept"),
    "training-script": (lambda s: {"model": s, "epoch": 3}, "torchvision", IMAGENET, "kept"),
    "ddp": (lambda s: {"state_dict": prefixed(s, "module.")}, "torchvision", IMAGENET, "kept"),
    "lightning": (
        lambda s: {"state_dict": {**prefixed(s, "model."), "loss.weight": torch.ones(1)}},
        "torchvision",
        IMAGENET,
        "kept",
    ),
    "lightning-ddp-compile": (
        lambda s: {"state_dict": prefixed(s, "net._orig_mod.module.")},
        "torchvision",
        IMAGENET,
        "kept",
    ),
    "robustness": (robustness, "robustness", OWN, "kept"),
    "robustness-older": (lambda s: {"state_dict": robustness(s)["model"]}, "robustness", OWN, "kept"),
    "robustbench": (robustbench, "robustbench", OWN, "kept"),
    "smoothing": (smoothing, "smoothing", IMAGENET, "kept"),
    "smoothing-cifar": (lambda s: smoothing(s, "cifar_resnet18"), "smoothing", CIFAR, "kept"),
    "moco": (moco, "moco", IMAGENET, "absent"),
    "moco-v3": (lambda s: moco(s, "base_encoder", "momentum_encoder"), "moco", IMAGENET, "absent"),
    "vissl": (vissl, "vissl", IMAGENET, "absent"),
    "solo-learn": (solo_learn, "solo-learn", None, "kept"),
    "solo-learn-older": (lambda s: solo_learn(s, "encoder."), "solo-learn", None, "kept"),
    "lightly": (lightly, "lightly", None, "kept"),
    "users-backbone": (
        lambda s: {"state_dict": prefixed(s, "backbone."), "hyper_parameters": {}},
        "torchvision",
        IMAGENET,
        "kept",
    ),
    "users-encoder": (lambda s: {"state_dict": prefixed(s, "encoder.")}, "torchvision", IMAGENET, "kept"),
    "users-name": (
        lambda s: {"model": prefixed(s, "my.feature_extractor.")},
        "torchvision",
        IMAGENET,
        "kept",
    ),
    "best-of-run": (lambda s: {"best": s, "epoch": 3}, "torchvision", IMAGENET, "kept"),
    "normalizes-itself": (
        lambda s: prefixed({**s, **statistics("", "mu", "sigma", (1, 3, 1, 1))}, "module."),
        "torchvision",
        OWN,
        "kept",
    ),
    "statistics-beside-layers": (
        lambda s: {**s, **statistics("normalize.", "mean", "std", (3,))},
        "torchvision",
        OWN,
        "kept",
    ),
    "transformers": (lambda s: transformers(s), "transformers", IMAGENET, "kept"),
    "dual-batchnorm": (lambda s: {"state_dict": dual(s)}, "robust-ssl", None, "kept"),
    "head-in-sequential": (
        lambda s: {**headless(s), **classifier(s, "fc.1.")},
        "torchvision",
        None,
        "kept",
    ),
    "lightly-numbered": (lambda s: lightly(s, numbered), "lightly", None, "kept"),
}


def assert_same(model, state, *, head):
    actual = model.backbone.state_dict()
    expected = state if head else headless(state)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", FILES)
def test_every_layout_reads_back_with_equal_weights(network, images, tmp_path, case, zipped):
    content, name, normalization, head = FILES[case]
    state = network.state_dict()
    torch.save(content(state), tmp_path / "file", _use_new_zipfile_serialization=zipped)
    normalize = None if normalization else list(map(list, OWN))
    keep = head == "kept"
    model, report = import_checkpoint(tmp_path / "file", **SMALL, normalize=normalize, keep_head=keep)
    assert_same(model, state, head=keep)
    mean, std = normalization or OWN
    assert (model.mean, model.std) == (list(mean), list(std)) == (report.mean, report.std)
    assert (report.format, report.declared, report.head) == (name, False, head)
    assert len(report.matched) == len(headless(state)) and not report.missing
    if keep:
        normalized = torchvision.transforms.Normalize(mean, std)(images)
        with torch.no_grad():
            assert torch.allclose(model(images), network(normalized), atol=1e-5)


def with_older_names(content):
    """Rename the shortcuts and, where it stands in the network, the head to their older names."""
    if not isinstance(content, dict):
        return content
    return {
        re.sub(r"(^|\.)fc\.(weight|bias)$", r"\1linear.\2", key).replace("downsample", "shortcut"): (
            with_older_names(value)
        )
        for key, value in content.items()
    }


@pytest.mark.parametrize("case", [case for case in FILES if case not in ("transformers", "dual-batchnorm")])
def test_every_layout_may_have_the_older_cifar_names(network, tmp_path, case):
    content, name, _, head = FILES[case]
    torch.save(with_older_names(content(network.state_dict())), tmp_path / "file")
    keep = head == "kept"
    model, report = import_checkpoint(tmp_path / "file", **SMALL, normalize="none", keep_head=keep)
    assert_same(model, network.state_dict(), head=keep)
    assert report.format == name and "layer2.0.downsample.0.weight" in report.renamed.values()


def rename_one(content, name="layer2.1.bn2.weight"):
    """Rename every tensor whose key ends with `name`, at any depth."""
    if not isinstance(content, dict):
        return content
    return {
        k.replace("bn2", "bn9") if k.endswith(name) else k: rename_one(v, name) for k, v in content.items()
    }


@pytest.mark.parametrize(
    "case", [c for c in FILES if c not in ("lightly-numbered", "transformers", "dual-batchnorm")]
)
def test_one_renamed_tensor_is_refused(network, tmp_path, case):
    torch.save(rename_one(FILES[case][0](network.state_dict())), tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"fits 119 of the 120(.|\n)*missing: layer2.1.bn2.weight"):
        import_checkpoint(tmp_path / "file", **SMALL, normalize="none")


def test_numbered_names_renamed_are_refused(network, tmp_path):
    content = lightly(network.state_dict(), numbered)
    content["state_dict"]["backbone.5.1.bn9.weight"] = content["state_dict"].pop("backbone.5.1.bn2.weight")
    torch.save(content, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"missing: layer2.1.bn2.weight"):
        import_checkpoint(tmp_path / "file", **SMALL, normalize="none")


def simclr_v2(state):
    """Key layout of the converted SimCLR v2 networks without selective kernels."""
    names = {"conv1.": "net.0.0.", "bn1.": "net.0.1.0.", "fc.": "fc."}
    inside = {"conv1": "net.0", "bn1": "net.1.0", "conv2": "net.2", "bn2": "net.3.0", "conv3": "net.4"}
    inside |= {"bn3": "net.5.0", "downsample.0": "projection.shortcut", "downsample.1": "projection.bn.0"}
    for layer, count in enumerate((3, 4, 6, 3), start=1):
        for block in range(count):
            for ours, theirs in inside.items():
                names[f"layer{layer}.{block}.{ours}."] = f"net.{layer}.blocks.{block}.{theirs}."
    renamed = {}
    for name, tensor in state.items():
        (start,) = [start for start in names if name.startswith(start)]
        renamed[names[start] + name.removeprefix(start)] = tensor
    return {"resnet": renamed, "head": {"layers.0.weight": torch.zeros(4, 4)}}


def test_simclr_v2_reads_back_with_equal_weights(resnet50, tmp_path):
    torch.save(simclr_v2(resnet50.state_dict()), tmp_path / "file")
    model, report = import_checkpoint(tmp_path / "file", arch="resnet50", keep_head=True)
    assert_same(model, resnet50.state_dict(), head=True)
    assert (report.format, model.mean, model.std) == ("simclr-v2", *NONE)
    assert len(report.renamed) == len(headless(resnet50.state_dict()))


def test_simclr_must_be_declared_and_takes_images_as_they_are(network, tmp_path):
    torch.save({"state_dict": network.state_dict()}, tmp_path / "file")
    _, guessed = import_checkpoint(tmp_path / "file", **SMALL)
    assert guessed.format == "torchvision" and "simclr" in guessed.warnings[0]
    model, declared = import_checkpoint(tmp_path / "file", **SMALL, format="simclr")
    assert (model.mean, model.std) == NONE and declared.declared and not declared.warnings
    assert_same(model, network.state_dict(), head=False)


def test_our_own_file_reads_back(tmp_path):
    model = build_model(
        "resnet18_small", num_classes=2, class_names=["a", "b"], image_size=16, width=8, seed=0
    )
    model.train_sigma = 0.5
    save_model(tmp_path / "file", model)
    kept, report = import_checkpoint(tmp_path / "file", **SMALL, keep_head=True)
    assert_same(kept, model.backbone.state_dict(), head=True)
    assert (kept.class_names, kept.image_size, kept.train_sigma) == (["a", "b"], 16, 0.5)
    assert (report.format, report.head, report.head_classes) == ("robust-transfer", "kept", 2)
    bare, report = import_checkpoint(tmp_path / "file", **SMALL, normalize="none")
    assert_same(bare, model.backbone.state_dict(), head=False)
    assert bare.std == [1, 1, 1] and report.head == "dropped"
    with pytest.raises(
        CheckpointError, match="holds resnet18_small of width 8, expected resnet18 of width 64"
    ):
        import_checkpoint(tmp_path / "file", arch="resnet18")


# ---------------------------------------------------------------- saved by the sources' own libraries


def test_torchvision_saves(tmp_path, resnet50, images):
    theirs = torchvision.models.resnet50()
    theirs.load_state_dict(resnet50.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "file")
    model, report = import_checkpoint(tmp_path / "file", arch="resnet50", keep_head=True)
    assert report.format == "torchvision" and (model.mean, model.std) == IMAGENET
    with torch.no_grad():
        expected = theirs.eval()(torchvision.transforms.Normalize(*IMAGENET)(images))
        assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, torch.compile, lambda module: torch.compile(nn.DataParallel(module))],
    ids=["DataParallel", "compile", "both"],
)
def test_torchs_wrappers_are_taken_off(network, tmp_path, wrap):
    torch.save(wrap(network).state_dict(), tmp_path / "file")
    model, report = import_checkpoint(tmp_path / "file", **SMALL)
    assert_same(model, network.state_dict(), head=False)
    assert report.format == "torchvision"


def test_smoothing_as_its_modules_save_it(network, images, tmp_path):
    sequence = nn.Sequential(torchvision.transforms.Normalize(*IMAGENET), nn.DataParallel(network))
    torch.save({"arch": "resnet50", "state_dict": sequence.state_dict()}, tmp_path / "file")
    model, _ = import_checkpoint(tmp_path / "file", **SMALL, keep_head=True)
    with torch.no_grad():
        assert torch.allclose(model(images), sequence(images), atol=1e-5)


@pytest.fixture(scope="module")
def timm_model():
    timm = pytest.importorskip("timm")
    return timm.create_model("resnet18").eval()


def test_timm_saves_safetensors(timm_model, images, tmp_path):
    safetensors.torch.save_file(timm_model.state_dict(), tmp_path / "model.safetensors")
    model, report = import_checkpoint(tmp_path / "model.safetensors", arch="resnet18", keep_head=True)
    config = timm_model.default_cfg
    assert report.format == "timm" and (model.mean, model.std) == (list(config["mean"]), list(config["std"]))
    with torch.no_grad():
        expected = timm_model(torchvision.transforms.Normalize(config["mean"], config["std"])(images))
        assert torch.allclose(model(images), expected, atol=1e-5)


def test_timm_saves_averaged_weights_and_they_are_taken(timm_model, tmp_path):
    timm = pytest.importorskip("timm")
    average = timm.utils.ModelEmaV3(timm_model)
    with torch.no_grad():
        average.module.conv1.weight.fill_(0.5)
    optimizer = torch.optim.SGD(timm_model.parameters(), lr=0.1)
    saver = timm.utils.CheckpointSaver(
        timm_model,
        optimizer,
        args=argparse.Namespace(model="resnet18"),
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(epoch=0, metric=1.0)
    model, report = import_checkpoint(tmp_path / "last.pth.tar", arch="resnet18")
    assert report.ema_used and report.format == "timm" and "argparse.Namespace" in report.inert
    assert any("averaged (EMA)" in line for line in report.lines())
    assert_same(model, average.module.state_dict(), head=False)


def test_lightly_saves(tmp_path, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("lightly")
        from lightly.models import ResNetGenerator
        from lightly.models.modules import SimCLRProjectionHead
        from lightly.utils.benchmarking import OnlineLinearClassifier
    backbone = ResNetGenerator("resnet-18", num_classes=10).eval()
    parts = nn.ModuleDict(
        {
            "backbone": backbone,
            "projection_head": SimCLRProjectionHead(512, 32, 16),
            "online_classifier": OnlineLinearClassifier(512, 10),
        }
    )
    torch.save({"state_dict": parts.state_dict()}, tmp_path / "file")
    model, report = import_checkpoint(
        tmp_path / "file", arch="resnet18_small", image_size=32, normalize="cifar", keep_head=True
    )
    assert report.format == "lightly"
    head = parts["online_classifier"].classification_head
    assert torch.equal(model.backbone.fc.weight, head.weight)
    backbone.linear = nn.Identity()
    with torch.no_grad():
        features = backbone(torchvision.transforms.Normalize(*CIFAR)(images))
        assert torch.allclose(model(images), head(features), atol=1e-4)


# ---------------------------------------------------------------- refusals


def test_a_deeper_network_of_the_same_names_is_refused(network, tmp_path):
    state = network.state_dict()
    state.update({k.replace("layer1.1", "layer1.2"): v for k, v in state.items() if k.startswith("layer1.1")})
    torch.save(state, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"unexpected: layer1.2.bn1.bias"):
        import_checkpoint(tmp_path / "file", **SMALL)


def test_another_architecture_is_named(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "file")
    hint = r"the file looks like resnet18_small: model=resnet18_small model.width=8"
    for other in ({"arch": "resnet18"}, {"arch": "resnet50"}, {"arch": "resnet18_small", "width": 16}):
        with pytest.raises(CheckpointError, match=hint):
            import_checkpoint(tmp_path / "file", **other)


@pytest.mark.parametrize("name", ["layer3.0.bn1.running_mean", "fc.weight"])
def test_non_finite_weights_are_refused(network, tmp_path, name):
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state[name].view(-1)[0] = float("nan")
    torch.save(state, tmp_path / "file")
    with pytest.raises(CheckpointError, match="NaN or infinite weights in"):
        import_checkpoint(tmp_path / "file", **SMALL, keep_head=True)


@pytest.mark.parametrize("case", ["moco", "vissl"])
def test_a_head_that_is_not_there_cannot_be_kept(network, tmp_path, case):
    torch.save(FILES[case][0](network.state_dict()), tmp_path / "file")
    with pytest.raises(CheckpointError, match="has no linear classifier"):
        import_checkpoint(tmp_path / "file", **SMALL, keep_head=True)


def test_files_from_before_the_batch_counter_are_read_and_said(network, tmp_path):
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "file")
    model, report = import_checkpoint(tmp_path / "file", **SMALL)
    assert len(report.missing) == 20 and any("20 num_batches_tracked" in line for line in report.lines())
    assert torch.equal(model.backbone.layer4[1].bn2.running_var, network.layer4[1].bn2.running_var)


def test_what_is_not_taken_is_reported(network, tmp_path):
    torch.save(FILES["robustness"][0](network.state_dict()), tmp_path / "file")
    _, report = import_checkpoint(tmp_path / "file", **SMALL)
    assert len(report.unexpected) == len(network.state_dict())
    text = "\n".join(report.lines())
    assert "stripped prefixes: module.model." in text and "module.attacker*" in text
    assert "read from the file: module.normalizer.new_mean" in text and "head (1000 classes): dropped" in text
