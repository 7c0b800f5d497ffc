"""rt-eval on a file of another project: what its images are shown as is known, said, and part of the key."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as tv

from robust_transfer.cli.evaluate import main
from robust_transfer.cli.report import main as report
from robust_transfer.core import rng
from robust_transfer.data import open_dataset
from robust_transfer.models import backbone
from robust_transfer.store.directories import scan


@pytest.fixture(scope="module")
def network():
    with rng.global_state(0, "test-file"):
        return backbone("resnet18_small", 10, 4).eval()


@pytest.fixture
def words(network, tmp_path):
    torch.save({"net": network.state_dict()}, tmp_path / "cifar.pth")
    file = (f"checkpoint={tmp_path}/cifar.pth", "normalize=none", f"store={tmp_path}/runs")
    return ("clean", "dataset=digits", "clean.subset=30", "runtime.device=cpu", *file)


def predictions(root):
    (stage,) = scan(root)
    with stage.records.open(newline="") as stream:
        return {int(row["index"]): int(row["prediction"]) for row in csv.DictReader(stream)}


def expected(network, indices, transform):
    images = open_dataset("digits", "data", "test")
    with torch.no_grad():
        return {i: int(network(transform(images[i][0])[None]).argmax()) for i in indices}


def test_a_3x3_stem_is_shown_whole_images_of_32_pixels_and_it_is_said(network, words, tmp_path, capsys):
    assert main(list(words)) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        "cifar.pth: resnet18_small of width 4, 10 classes; images of 32 px (by its 3x3 stem; short side "
        "resized to 32, not cropped); mean [0, 0, 0] std [1, 1, 1] (given none)"
    )
    found = predictions(tmp_path / "runs")
    assert found == expected(network, found, lambda image: F.to_tensor(tv.Resize(32)(image)))


@pytest.mark.parametrize(
    ("more", "said", "transform"),
    [
        (("image_size=8",), "images of 8 px (given; short side resized to 8, not", tv.Resize(8)),
        (
            ("whole_image=false",),
            "images of 32 px (by its 3x3 stem; short side resized to 37, cropped to 32)",
            tv.Compose([tv.Resize(37), tv.CenterCrop(32)]),
        ),
        (
            ("model=resnet18_small", "model.width=4", "model.image_size=16"),
            "images of 16 px (by model=; short side resized to 16, not",
            tv.Resize(16),
        ),
    ],
    ids=["given", "cropped", "model"],
)
def test_what_is_given_is_what_images_are_shown_as(network, words, tmp_path, capsys, more, said, transform):
    assert main([*words, *more]) == 0
    assert said in capsys.readouterr().err.splitlines()[0]
    found = predictions(tmp_path / "runs")
    assert found == expected(network, found, lambda image: F.to_tensor(transform(image)))


def test_native_images_go_in_as_they_are(words):
    from robust_transfer.data.transforms import eval_transform

    pixels = rng.normal((32, 32, 3), 0, "native").mul(60).add(128).clamp(0, 255).to(torch.uint8)
    assert torch.equal(
        eval_transform(32, whole=True)(Image.fromarray(np.asarray(pixels))), pixels.permute(2, 0, 1)
    )


def test_a_model_that_contradicts_the_file_is_refused(words, capsys):
    assert main([*words, "model=resnet18"]) == 2
    assert "looks like resnet18_small: model=resnet18_small model.width=4" in capsys.readouterr().err
    assert main([*words, "model=resnet18_small"]) == 2
    assert "model.width=4" in capsys.readouterr().err


def test_a_7x7_stem_is_shown_224_pixels_without_a_word_of_the_user(tmp_path, capsys):
    net = backbone("resnet18", 10, 64)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    assert isinstance(net.fc, nn.Linear)
    words = ("clean", "dataset=digits", f"checkpoint={tmp_path}/net.pth", "normalize=imagenet", "--plan")
    assert main([*words, f"store={tmp_path}/runs"]) == 0
    assert "images of 224 px (by its 7x7 stem; " in capsys.readouterr().err


def test_a_denoiser_before_a_file_is_a_model_of_its_own_key(words, tmp_path, capsys):
    from robust_transfer.models import DnCNN

    torch.save(DnCNN(depth=3, channels=4).state_dict(), tmp_path / "denoiser.pt")
    words = ["certify", *words[1:], "certify.n=100", "certify.subset=4", "certify.sigma=0.25"]
    words = [word for word in words if not word.startswith("clean.")]
    assert main([*words, "image_size=8"]) == 0
    defended = ["defence=denoiser", f"denoiser={tmp_path}/denoiser.pt"]
    assert main([*words, "image_size=8", *defended]) == 0
    assert "behind the denoiser denoiser.pt" in capsys.readouterr().err
    plain, behind = sorted(scan(tmp_path / "runs"), key=lambda stage: bool(stage.summary().lineage.defence))
    assert plain.key != behind.key and behind.summary().lineage.defence.startswith("denoiser ")
    assert "denoised" in behind.summary().marks
    # An untrained denoiser changes nothing.
    assert plain.records.read_bytes() == behind.records.read_bytes()
    for stage in (plain, behind):
        assert report(["verify", stage.key, "--redraw", "9", "--store", f"{tmp_path}/runs"]) == 0
        assert "units redrawn" in capsys.readouterr().out
    card = tmp_path / "card.md"
    assert (
        report(["export", behind.key, "--format", "card", "--to", str(card), f"store={tmp_path}/runs"]) == 0
    )
    assert all(
        word in card.read_text()
        for word in ("Denoised(read_denoiser(", behind.key, "network: resnet18_small")
    )
    torch.save(DnCNN(depth=3, channels=3).state_dict(), tmp_path / "denoiser.pt")
    capsys.readouterr()
    assert report(["verify", behind.key, "--redraw", "9", f"store={tmp_path}/runs"]) == 2
    assert "denoiser.pt is not the file that" in capsys.readouterr().err
    assert main([*words, "defence=denoiser"]) == 2


def test_a_class_map_gives_a_folder_the_labels_of_a_files_outputs(network, tmp_path):
    """Two of the file's ten classes, as folders whose order by letter is another than the outputs'."""
    order = ["zebra", "apple", *(f"class {number}" for number in range(2, 9)), "mouse"]
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in order))
    shades = {"mouse": (20, 60, 90, 120), "zebra": (150, 180, 210, 240)}
    for name, values in shades.items():
        (tmp_path / "test" / name).mkdir(parents=True)
        for value in values:
            image = Image.new("RGB", (32, 32), (value, 255 - value, value // 2))
            image.save(tmp_path / f"test/{name}/{value}.png")
    torch.save({"net": network.state_dict()}, tmp_path / "cifar.pth")
    words = [
        "clean",
        "dataset=imagefolder",
        f"dataset.root={tmp_path}",
        "runtime.device=cpu",
        "normalize=none",
    ]
    words += [f"checkpoint={tmp_path}/cifar.pth", f"store={tmp_path}/runs"]
    assert main([*words, f"store={tmp_path}/refused"]) == 2  # ten outputs, two folders
    assert main([*words, f"dataset.class_map={tmp_path}/classes.txt"]) == 0
    (stage,) = scan(tmp_path / "runs")
    with stage.records.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["label"]) for row in rows] == [0] * 4 + [9] * 4
    files = [file for name in ("zebra", "mouse") for file in sorted((tmp_path / "test" / name).iterdir())]
    with torch.no_grad():
        wanted = [int(network(F.to_tensor(Image.open(file))[None]).argmax()) for file in files]
    assert [int(row["prediction"]) for row in rows] == wanted


def test_weights_by_name_are_evaluated_with_what_their_publisher_says(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "models/cifar10/Linf/Sehwag2021Proxy_R18.pt"
    words = [word for word in words if not word.startswith(("checkpoint=", "normalize="))]
    named = "checkpoint=robustbench:Sehwag2021Proxy_R18"
    assert main([*words, named, "--plan"]) == 2
    assert "Sehwag2021Proxy_R18 is not here (expected models/cifar10" in capsys.readouterr().err
    place.parent.mkdir(parents=True)
    (tmp_path / "cifar.pth").rename(place)
    assert main([*words, named, "--plan"]) == 0
    by_name = capsys.readouterr()
    assert "Sehwag2021Proxy_R18.pt: resnet18_small of width 4" in by_name.err.splitlines()[0]
    assert main([*words, f"checkpoint={place}", "normalize=none", "--plan"]) == 0
    assert capsys.readouterr().out == by_name.out  # the same key
    assert main([*words, "checkpoint=torchvision:IMAGENET1K_V2", "--plan"]) == 2
    assert "needs its network" in capsys.readouterr().err
    assert main([*words, "checkpoint=https://huggingface.co/o/net", "--plan"]) == 2
    assert "rt-eval: checkpoint=hf:o/net" in capsys.readouterr().err
