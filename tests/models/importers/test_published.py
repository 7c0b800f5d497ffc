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


@pytest.fixture
def accuracy():
    """The share of a hundred photographs that a file's network gets right."""
    if not REAL:
        pytest.skip("RT_REAL_DATA names no folder with cifar10-jpeg.tar")
    with tarfile.open(Path(REAL) / "cifar10-jpeg.tar") as archive:
        files = sorted(m.name for m in archive if m.isfile() and "/test/" in m.name)
        classes = sorted({name.split("/")[-2] for name in files})
        chosen = files[:: len(files) // 100]
        images = torch.stack(
            [F.to_tensor(Image.open(archive.extractfile(name)).convert("RGB")) for name in chosen]
        )
    labels = torch.tensor([classes.index(name.split("/")[-2]) for name in chosen])

    def measure(path, normalize):
        arch = describe_file(path, normalize=normalize)["arch"]
        model, _ = import_checkpoint(path, arch=arch, normalize=normalize, keep_head=True)
        with torch.no_grad():
            return arch, (model.eval()(images).argmax(1) == labels).float().mean().item()

    return measure


@pytest.mark.slow
def test_published_networks_are_right_on_photographs_with_their_own_statistics(path, accuracy):
    (arch, right), (_, wrong) = accuracy(path, "none"), accuracy(path, "cifar")
    assert arch == "resnet18_small" and right > 0.8 > wrong + 0.2
    for file in sorted(Path(REAL).glob("weights/akamaster-resnet*.th")):
        arch, right = accuracy(file, "imagenet")
        assert arch == f"cifar_{file.name.split('-')[1]}_a" and right > 0.75, file.name
