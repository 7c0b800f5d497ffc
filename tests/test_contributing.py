"""The method that CONTRIBUTING.md adds works as it is written there."""

import importlib
import re
import textwrap
from pathlib import Path

import pytest

from robust_transfer import objectives
from robust_transfer.cli.train import main
from robust_transfer.config import methods
from robust_transfer.models import load_model
from tiny_runs import tiny

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
SECTION = TEXT[TEXT.index("## Add a method") : TEXT.index("## Add a data set")]


@pytest.fixture
def blocks():
    found = re.findall(r"^ *```(python|yaml)\n(.*?)^ *```", SECTION, re.MULTILINE | re.DOTALL)
    kinds = [kind for kind, _ in found]
    assert kinds == ["python", "python", "yaml"]
    return [textwrap.dedent(text) for _, text in found]


def test_adding_a_method_as_written(blocks, tmp_path, monkeypatch):
    config, objective, values = blocks
    for package, text in ((methods, config), (objectives, objective)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "gentle.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    gentle = importlib.import_module("robust_transfer.config.methods.gentle")
    monkeypatch.setitem(methods.FINETUNE, "gentle", gentle.GentleConfig)
    (tmp_path / "conf" / "finetune").mkdir(parents=True)
    (tmp_path / "conf" / "finetune" / "gentle.yaml").write_text(values)
    store = tmp_path / "store"
    words = tiny("none", "gentle", store, "until=finetune", "--config-dir", str(tmp_path / "conf"))
    assert main(["--plan", *words]) == 0
    assert main(words) == 0
    (stage,) = (store / "finetune").iterdir()
    assert stage.name.startswith("gentle-digits-none-")
    assert load_model(stage / "model.safetensors").num_classes == 10
