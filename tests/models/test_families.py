"""One small member of each family of networks does all that a network is asked for."""

import copy

import pytest
import safetensors.torch
import torch
import torchvision

from robust_transfer.attacks import autopgd
from robust_transfer.config.model import ModelConfig
from robust_transfer.core import rng
from robust_transfer.models import (
    build_model,
    export_model,
    import_checkpoint,
    load_model,
    num_features,
    replace_head,
    save_model,
)
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.stages import HEAD, named_blocks, stage_of_tensors
from robust_transfer.objectives import Progress
from robust_transfer.smoothing import certify
from robust_transfer.training.activation_checkpointing import checkpoint_blocks
from robust_transfer.training.measure import synthetic_batch, synthetic_step
from training_jobs import make_method, make_runtime

timm = pytest.importorskip("timm")

FAMILIES = {
    "resnet": ("cifar_resnet20_a", 8),
    "wide": ("wideresnet16_4", 8),
    "vit": ("timm-test_vit", 32),
    "convnext": ("timm-test_convnext", 32),
    "mixer": ("timm-mixer_s32_224", 32),
}
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def model(family):
    arch, size = family
    built = build_model(
        arch, num_classes=3, class_names=NAMES, image_size=size, normalize="cifar", seed=0
    ).eval()
    return replace_head(built, num_classes=3, class_names=NAMES, seed=0)  # timm's own may begin at zero


@pytest.fixture(scope="module")
def images(family):
    return torch.rand((3, 3, family[1], family[1]), generator=rng.generator(0, "families"))


def logits(model, images):
    with torch.no_grad():
        return model(images)


def test_a_saved_model_is_the_model_and_its_features_are_what_the_head_reads(model, images, family, tmp_path):
    save_model(tmp_path / "file", model)
    assert torch.equal(logits(load_model(tmp_path / "file"), images), logits(model, images))
    features, _ = import_checkpoint(tmp_path / "file", arch=family[0], image_size=family[1])
    head = model.backbone.get_submodule(model.head_name)
    assert features(images).shape == (3, num_features(family[0]))
    assert torch.allclose(head(features(images)), model(images), atol=1e-5)


def test_the_fast_copy_computes_the_same(model, images):
    expected = logits(copy.deepcopy(model).double(), images.double())
    actual = logits(fast_inference(model), images)
    assert (actual - expected).abs().max() < 2e-5 * expected.abs().max()


def test_recomputed_activations_change_no_gradient(family, images):
    arch, size = family
    plain = build_model(arch, num_classes=3, class_names=NAMES, image_size=size, normalize="none", seed=1)
    plain = plain.double().train()
    recomputing, kept = copy.deepcopy(plain), {}
    checkpoint_blocks(recomputing)
    assert len(named_blocks(recomputing)) > 2
    for name, net in (("plain", plain), ("recomputing", recomputing)):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=sizes: s.append(t.nbytes) or t, lambda t: t
        ):
            loss = net(images.double()).square().sum()
        loss.backward()
        kept[name] = sum(sizes)
    assert kept["recomputing"] < kept["plain"]
    for (name, expected), actual in zip(plain.named_parameters(), recomputing.parameters(), strict=True):
        assert torch.allclose(actual.grad, expected.grad, atol=1e-10), name
    for expected, actual in zip(plain.buffers(), recomputing.buffers(), strict=True):
        assert torch.allclose(actual, expected)


def test_four_stages_and_a_head_follow_one_another(model):
    stages = stage_of_tensors(model)
    body = [stage for name, stage in stages.items() if name.startswith("backbone.") and stage != HEAD]
    assert body == sorted(body) and {1, 2, 3} <= set(body) <= {1, 2, 3, 4}
    head = {name for name, stage in stages.items() if stage == HEAD}
    assert head == {f"backbone.{model.head_name}.{name}" for name in ("weight", "bias")}


def test_it_is_attacked_and_certified(model, images):
    labels = logits(model, images).argmax(1)
    result = autopgd(model, images, labels, norm="l2", eps=0.5, num_steps=3, guards="off")
    assert result.distance.max() <= 0.5 + 1e-6
    weaker = logits(model, result.images)[~result.robust].argmax(1)
    assert (weaker != labels[~result.robust]).all()
    certificate = certify(model, images[0], sigma=0.1, n0=100, n=100, alpha=0.01, batch_size=50)
    assert 0 <= certificate.count_top <= 100


@pytest.mark.slow
@pytest.mark.parametrize("method", ["at", "cr", "st_linear", "simclr"])
def test_a_step_trains_what_its_method_trains(family, method):
    arch, size = family
    config = make_method(method, batch_size=4, freeze="layer2" if method == "at" else "none")
    network = ModelConfig(arch, 64, size, "none")
    step = synthetic_step(config, network, make_runtime(), device="cpu", num_classes=3)
    before = {name: value.clone() for name, value in step.trained.state_dict().items()}
    step(synthetic_batch(step, 4, size), Progress(step=0, total=2, epoch=0, steps_per_epoch=2))
    moved = {n for n, value in step.trained.state_dict().items() if not torch.equal(value, before[n])}
    if method == "st_linear":
        assert {name.rpartition(".")[0] for name in moved} == {f"backbone.{step.trained.head_name}"}
    elif method == "at":
        stages = stage_of_tensors(step.trained)
        assert moved and min(stages[name] for name in moved) == 3
    else:
        assert len(moved) > len(before) / 2


@pytest.mark.slow
def test_what_is_exported_loads_as_its_card_says_and_as_a_foreign_file(model, images, family, tmp_path):
    import robust_transfer.models

    save_model(tmp_path / "own.safetensors", model)
    details = {"title": "A model"}
    target, card = export_model(
        tmp_path / "own.safetensors", tmp_path / "plain.pt", plain=True, details=details
    )
    code = card.read_text().split("```python\n")[1].split("```")[0].replace('"plain.pt"', repr(str(target)))
    names = {
        "torch": torch,
        "torchvision": torchvision,
        "timm": timm,
        "robust_transfer": robust_transfer,
        "safetensors": safetensors,
        "images": images,
    }
    exec(code, names)
    assert torch.allclose(names["logits"], logits(model, images), atol=1e-5)
    torch.save(
        {"state_dict": {f"net.{k}": v for k, v in torch.load(target).items()}}, tmp_path / "foreign.pt"
    )
    options = {"arch": family[0], "image_size": family[1], "normalize": "cifar", "keep_head": True}
    imported, report = import_checkpoint(tmp_path / "foreign.pt", **options)
    assert torch.equal(logits(imported, images), logits(model, images)) and report.unexpected == []
