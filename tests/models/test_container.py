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
