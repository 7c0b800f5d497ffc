"""A published file: the CIFAR-10 ResNet-18 of AutoAttack's authors, which pyautoattack brings."""

from importlib import import_module, resources

import pytest
import torch

from robust_transfer.core import rng
from robust_transfer.models import describe_file, import_checkpoint

pytest.importorskip("pyautoattack")


@pytest.fixture(scope="module")
def path():
    return resources.files("pyautoattack") / "examples" / "model_test.pt"


def test_the_published_resnet18_gives_its_own_classs_logits(path):
    metadata = describe_file(path, normalize="none")
    assert (metadata["arch"], metadata["width"], metadata["num_classes"]) == ("resnet18_small", 64, 10)
    model, report = import_checkpoint(path, arch="resnet18_small", normalize="none", keep_head=True)
    assert (len(report.matched), report.missing, report.unexpected) == (120, [], [])
    theirs = import_module("pyautoattack.examples.resnet").ResNet18()
    theirs.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    images = torch.rand((4, 3, 32, 32), generator=rng.generator(0, "published"))
    with torch.no_grad():
        assert torch.allclose(model.double()(images.double()), theirs.double().eval()(images.double()))
