"""rt-data as a command: exit codes, streams, one line an error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from replicas import BUILDERS
from robust_transfer.cli.data import main
from robust_transfer.data import catalogue


def test_status_lists_every_set_on_one_line_and_exits_0(tmp_path, capsys):
    assert main(["status", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [n for n in catalogue.names() if n != "imagefolder"]
    assert {line.split()[1] for line in lines[1:-1]} == {"missing", "ok"}
    assert all(len(line) <= 80 for line in lines[1:])
    assert main(["status", "pets", "digits", "--json", "--root", str(tmp_path)]) == 0
    pets, digits = json.loads(capsys.readouterr().out)
    assert (pets["name"], pets["state"], pets["expected"]) == (
        "pets",
        "missing",
        {"train": 3680, "test": 3669},
    )
    assert (digits["state"], digits["found"]) == ("ok", {"train": 1000, "test": 797})


def test_root_comes_from_the_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RT_DATA", str(tmp_path / "sets"))
    assert main(["status", "pets"]) == 0
    assert str(tmp_path / "sets") in capsys.readouterr().out


def test_check_of_a_whole_set_exits_0(capsys):
    assert main(["check", "digits", "mnist5k"]) == 0
    assert "digits: 1,797 of 1,797 images are whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "pets"], "the trainval list is missing"),
        (["fetch", "imagenet"], "imagenet cannot be downloaded"),
        (["status", "pet"], "data set 'pet' is not known"),
        (["fetch", "digits"], "nothing to fetch"),
        (["status", "dtd", "--partition", "12"], "partition=12"),
    ],
)
def test_errors_are_a_line_with_at_most_two_below_it_and_exit_2(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--root", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("rt-data: error: ") and message in lines[0]
    assert 1 <= len(lines) <= 3 and all(line.startswith("  ") for line in lines[1:])


def test_check_lists_unreadable_images_and_exits_2(tmp_path, capsys):
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "bad.jpg").write_bytes(b"no image")
    assert main(["check", "imagefolder", "--root", str(tmp_path)]) == 2
    streams = capsys.readouterr()
    assert f"{tmp_path}/train/a/bad.jpg cannot be read" in streams.out
    assert "imagefolder: 0 of 2 images are whole" in streams.out
    assert "images of imagefolder that cannot be read: 2 (listed above)" in streams.err


def test_every_set_is_checked_whatever_is_wrong_with_the_others(tmp_path, capsys):
    assert main(["check", "pets", "digits", "dtd", "--root", str(tmp_path)]) == 2
    streams = capsys.readouterr()
    assert "digits: 1,797 of 1,797 images are whole" in streams.out
    lines = [line for line in streams.err.splitlines() if line.startswith("rt-data: error: ")]
    assert len(lines) == 2 and "trainval" in lines[0] and "dtd" in lines[1]


def test_a_part_of_a_set_is_checked_on_demand(tmp_path, capsys):
    BUILDERS["pets"](tmp_path)
    assert main(["check", "pets", "--root", str(tmp_path)]) == 2
    capsys.readouterr()
    assert main(["check", "pets", "--no-verify", "--root", str(tmp_path)]) == 0
    assert "pets: 15 of 15 images are whole" in capsys.readouterr().out


def test_help_imports_no_torch():
    code = (
        "import sys\n"
        "from robust_transfer.cli.data import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: sys.exit(end.code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0 and "status|check|fetch|import|try|cache" in done.stdout


@pytest.mark.slow
def test_a_minute_on_real_images_trains_certifies_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    BUILDERS["pets"](tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["try", "pets", "--root", str(tmp_path)]) == 2
    assert "pets" in capsys.readouterr().err
    before = sorted(tmp_path.rglob("*"))
    assert main(["try", "pets", "--no-verify", "--root", str(tmp_path)]) == 0
    assert "pets train 9 of 3,680" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
