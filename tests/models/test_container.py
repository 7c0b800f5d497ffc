import zipfile

import pytest
import safetensors.torch
import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.container import container, is_torchscript


def test_each_container_is_told_by_its_first_bytes(tmp_path):
    tensors = {"a": torch.zeros(2)}
    torch.save(tensors, tmp_path / "zip")
    torch.save(tensors, tmp_path / "legacy", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(tensors, tmp_path / "safetensors")
    for kind in ("zip", "legacy", "safetensors"):
        assert container(tmp_path / kind) == kind
    assert not is_torchscript(tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "script", "w") as archive:
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/code/__torch__/torchvision/models/resnet.py", b"")
    assert container(tmp_path / "script") == "zip"
    assert is_torchscript(tmp_path / "script")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html><body>Sign in", "HTML page"),
        (b"\xef\xbb\xbf<html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "truncated zip"),
        (b"cos\nsystem\n(S'ls'\ntR.", "is not a checkpoint"),
        (b"hello", "is not a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, message):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        container(tmp_path / "weights.pt")
    assert "\n" not in caught.value.what


def test_missing_files_and_directories_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        container(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"is a directory(.|\n)*model.safetensors"):
        container(tmp_path)


def test_what_needs_a_conversion_names_it(tmp_path, monkeypatch):
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(exported, tmp_path / "net.pt2")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for name, what, way in (
        ("net.pt2", "exported program", "torch.export.load(FILE)"),
        ("net.onnx", "ONNX graph", "state_dict"),
        ("dcp", "torch.distributed.checkpoint", "dcp_to_torch dcp FILE"),
        (
            "https://host/a.pt?raw=1",
            "https://host/a.pt?raw=1 is an address",
            "curl -LO 'https://host/a.pt?raw=1'",
        ),
        ("https://huggingface.co/o/net/resolve/main/a/b.pt", "is on the Hugging", "weights=hf:o/net/a/b.pt"),
        ("https://huggingface.co/o/net", "is on the Hugging Face hub", "pretrain.weights=hf:o/net"),
        ("hf:owner/name", "is on the Hugging Face hub", "pretrain.weights=hf:owner/name"),
        ("microsoft/resnet-50", "on the Hugging Face hub it may", "pretrain.weights=hf:microsoft/resnet-50"),
        ("robustbench:Standard", "is a name of weights", "pretrain.weights=robustbench:Standard"),
    ):
        with pytest.raises(CheckpointError) as caught:
            container(name)
        assert what in caught.value.what and way in caught.value.hints[0], name
