"""Files that would run code: each payload makes a directory, and no safe reader may let it."""

import argparse
import io
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.safe_load import load_file, state_dict_of

FORMS = {"zip": True, "legacy": False}


class Payload:
    """Unpickled naively, it makes a directory."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.makedirs, (self.trace, 0o777, True)


class Network(nn.Module):
    """A module whose class lives in the file's own code, as in whole-model files."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("transient", torch.ones(1), persistent=False)


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "code-ran"


@pytest.fixture
def weights():
    return {"a": torch.arange(6.0).view(2, 3), "b.c": torch.tensor([1, 2])}


def save(content, path, form):
    torch.save(content, path, _use_new_zipfile_serialization=FORMS[form])
    return path


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


def replace_record(path, record, content):
    """Replace the pickle inside a zip container."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, old in records.items():
            archive.writestr(name, content if name.endswith(record) else old)


@pytest.mark.parametrize("form", FORMS)
def test_plain_state_dicts_take_the_strictest_reader(weights, tmp_path, form):
    loaded = load_file(save({"state_dict": weights}, tmp_path / "file", form))
    assert (loaded.reader, loaded.container, loaded.inert) == ("weights_only", form, [])
    assert_equal(state_dict_of(loaded.root["state_dict"]), weights)


@pytest.mark.parametrize("form", FORMS)
def test_code_beside_the_weights_does_not_run(weights, tmp_path, trace, form):
    path = save(
        {"first": Payload(trace), "state_dict": weights, "last": [Payload(trace)]}, tmp_path / "file", form
    )
    loaded = load_file(path)
    assert not trace.exists()
    assert loaded.reader == "restricted" and loaded.inert == ["os.makedirs"]
    assert_equal(state_dict_of(loaded.root["state_dict"]), weights)
    # Not even with trust, which is for files that no safe reader takes.
    assert load_file(path, trust=True).reader == "restricted" and not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the payload is a real one: read naively, it runs"


@pytest.mark.parametrize("form", FORMS)
def test_code_in_place_of_the_file_does_not_run(tmp_path, trace, form):
    path = save(Payload(trace), tmp_path / "file", form)
    assert state_dict_of(load_file(path).root) is None
    assert not trace.exists()


def test_code_in_the_legacy_forms_preamble_does_not_run(tmp_path, trace):
    stream = io.BytesIO()
    pickle.dump(Payload(trace), stream, protocol=2)
    (tmp_path / "file").write_bytes(stream.getvalue())
    with pytest.raises(CheckpointError, match="not a torch checkpoint"):
        load_file(tmp_path / "file")
    assert not trace.exists()


def test_code_nested_in_torchs_own_loader_does_not_run(weights, tmp_path, trace):
    class Nested:
        def __reduce__(self):
            inner = io.BytesIO()
            torch.save(Payload(trace), inner)
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    loaded = load_file(save({"state_dict": weights, "x": Nested()}, tmp_path / "file", "zip"))
    assert "torch.storage._load_from_bytes" in loaded.inert and not trace.exists()


def test_older_pickle_opcodes_do_not_run_code(weights, tmp_path, trace):
    path = save(weights, tmp_path / "file", "zip")
    instruction = f"(S'{trace}'\nios\nmkdir\n.".encode()
    replace_record(path, "data.pkl", instruction)
    load_file(path)
    assert not trace.exists()
    pickle.loads(instruction)
    assert trace.exists()


def test_a_file_cannot_change_torchs_functions(weights, tmp_path):
    path = save(weights, tmp_path / "file", "zip")
    name = b"X\x0c\x00\x00\x00__defaults__"
    replace_record(path, "data.pkl", b"\x80\x02ctorch._utils\n_rebuild_tensor\n(N}" + name + b"N\x85stb.")
    before = torch._utils._rebuild_tensor.__defaults__
    with pytest.raises(CheckpointError):
        load_file(path)
    assert torch._utils._rebuild_tensor.__defaults__ == before


@pytest.mark.parametrize("form", FORMS)
def test_settings_and_numpy_scalars_beside_the_weights_do_not_matter(weights, tmp_path, form):
    content = {
        "state_dict": weights,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(3),
        "half": torch.float16,
    }
    loaded = load_file(save(content, tmp_path / "file", form))
    assert loaded.reader == "restricted" and "argparse.Namespace" in loaded.inert
    assert loaded.root["half"] is torch.float16
    assert_equal(state_dict_of(loaded.root["state_dict"]), weights)


def test_a_whole_model_in_a_zip_gives_its_state_dict(tmp_path):
    model = Network()
    loaded = load_file(save({"model": model}, tmp_path / "file", "zip"))
    assert loaded.reader == "restricted"
    assert_equal(state_dict_of(loaded.root["model"]), model.state_dict())


@pytest.mark.parametrize("content", [Network(), {"model": Network(), "epoch": 3}])
def test_a_whole_model_in_the_legacy_form_is_refused_in_one_line(tmp_path, content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch keeps the source of the class, where it finds it
        path = save(content, tmp_path / "file", "legacy")
    with pytest.raises(CheckpointError, match="whole model pickled in torch's legacy form") as caught:
        load_file(path)
    assert "\n" not in caught.value.what and "pretrain.trust=true" in caught.value.hints[1]


def test_trust_reads_what_the_safe_readers_cannot(tmp_path):
    model = Network()
    path = save(model, tmp_path / "file", "legacy")
    loaded = load_file(path, trust=True)
    assert loaded.reader == "trusted"
    assert_equal(state_dict_of(loaded.root), model.state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_truncated_files_are_refused_in_one_line(weights, tmp_path, form):
    whole = save(weights, tmp_path / "file", form).read_bytes()
    for size in range(2, len(whole) - 1, 97):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(CheckpointError) as caught:
            load_file(tmp_path / "cut")
        assert "\n" not in caught.value.what


def test_a_torchscript_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "script", "w") as archive:
        archive.writestr("script/constants.pkl", pickle.dumps(()))
        archive.writestr("script/data.pkl", pickle.dumps({}))
    with pytest.raises(CheckpointError, match="TorchScript archive, which is a program"):
        load_file(tmp_path / "script", trust=True)
