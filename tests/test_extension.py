"""A package from outside, tests/plugin, brings a method, an evaluator, a data set and a backbone by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).with_name("plugin")
RUN = ("pretrain=none", "finetune=dimmed", "dataset=stripes", "model=two_layers")
SHORT = ("finetune.epochs=20", "finetune.batch_size=8", "finetune.lr=0.05", "runtime.device=cpu")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the package beside this one, without a network; returns the folder to put on the path."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", folder / "site", source], check=True, capture_output=True)
    return folder / "site"


# One process for all commands: its imports would be most of the time of each.
LOOP = """
import contextlib, io, json, sys
from robust_transfer.__main__ import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def command(installed, tmp_path_factory):
    """Return a function that runs one of the commands in a store and gives its output."""
    folder = tmp_path_factory.mktemp("outside")
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, "-c", LOOP],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(name, *words, code=0):
            store = ["--store", "runs"] if name == "report" else []
            print(json.dumps([name, *words, *store]), file=process.stdin, flush=True)
            returned, out, err = json.loads(process.stdout.readline())
            assert returned == code, out + err
            return out

        run.folder = folder
        yield run


def test_help_and_the_index_of_data_name_what_the_package_brings(command):
    text = command("train", "--help")
    assert all(name in text for name in ("dimmed", "stripes", "two_layers"))
    assert "accuracy on mirrored images" in command("eval", "--help")
    assert "stripes" in command("data", "status", "stripes")


def test_a_plan_knows_all_four(command):
    text = command("train", "--plan", *RUN, *SHORT)
    assert "dimmed <- none" in text and "mirrored" in text and "stripes" in text


def test_they_run_by_name_and_are_reported_and_verified(command):
    assert "mirrored" in command("train", *RUN, *SHORT)
    (path,) = (command.folder / "runs" / "eval").glob("*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["metrics"]["sa"] == 1.0 and summary["num_images"] == 20  # stripes are easy
    model = next((command.folder / "runs" / "finetune").iterdir())
    assert model.name.startswith("dimmed-stripes-none-two_layers-")
    key = summary["key"]
    assert key in command("report", "runs") and "mirrored" in command("report", "show", key)
    assert " 0 differ" in command("report", "verify", key)
    # And an evaluator of ours on the same model.
    text = command("eval", "autopgd", f"checkpoint={model.name[-12:]}", "dataset=stripes", "autopgd.eps=0.01")
    assert "autopgd" in text


def test_their_values_are_checked_like_ours(command):
    command("train", "--plan", *RUN, "finetune.strength=2", code=2)
    command("train", "--plan", *RUN, "finetune.strenght=0.5", code=2)
    command("train", "--plan", *RUN, "model=two_leyers", code=2)
