"""A published file: the CIFAR-10 ResNet-18 of AutoAttack's authors, which pyautoattack brings."""

import os
import tarfile
from importlib import import_module, resources
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

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


REAL = os.environ.get("RT_REAL_DATA")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="RT_REAL_DATA names no folder with cifar10-jpeg.tar")
def test_the_published_resnet18_is_right_on_photographs_without_normalisation(path):
    with tarfile.open(Path(REAL) / "cifar10-jpeg.tar") as archive:
        files = sorted(m.name for m in archive if m.isfile() and "/test/" in m.name)
        classes = sorted({name.split("/")[-2] for name in files})
        chosen = files[:: len(files) // 100]
        images = torch.stack(
            [F.to_tensor(Image.open(archive.extractfile(name)).convert("RGB")) for name in chosen]
        )
    labels = torch.tensor([classes.index(name.split("/")[-2]) for name in chosen])

    def accuracy(normalize):
        model, _ = import_checkpoint(path, arch="resnet18_small", normalize=normalize, keep_head=True)
        with torch.no_grad():
            return (model.eval()(images).argmax(1) == labels).float().mean().item()

    assert accuracy("none") > 0.8 > accuracy("cifar") + 0.2
