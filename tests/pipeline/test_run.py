"""Whole runs through rt-train: nothing is computed twice, nothing is lost, every end is the same end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from patience import PATIENCE_SECONDS
from robust_transfer.cli.train import main
from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue
from robust_transfer.pipeline import run as module
from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.store import directories
from robust_transfer.store.directories import StageDirectory
from tiny_runs import composed, results, snapshot, tiny

RECIPES = [("none", "cr"), ("st", "st"), ("cr", "cr")]


def train(*words):
    assert main(list(words)) == 0


def stages_of(root, kind):
    return [stage for stage in directories.scan(root) if stage.kind == kind]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the store of an uninterrupted run: pretrain=cr finetune=cr."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    train(*tiny("cr", "cr", root))
    return root


@pytest.mark.parametrize(("pretrain", "finetune"), RECIPES)
def test_a_run_from_end_to_end_and_once_more(pretrain, finetune, tmp_path, capsys, monkeypatch):
    root = tmp_path / "runs"
    words = tiny(pretrain, finetune, root)
    listed, list_split = [], catalogue.list_split
    with monkeypatch.context() as patched:
        patched.setattr(
            catalogue, "list_split", lambda *split: listed.append(split[:3]) or list_split(*split)
        )
        train(*words)
    assert len(listed) == len(set(listed)) >= 2
    first = capsys.readouterr()
    evaluators = ["certify"] if finetune == "cr" else ["autopgd", "certify"]
    stages = list(directories.scan(root))
    assert [s.kind for s in stages] == [
        *(["pretrain"] if pretrain != "none" else []),
        "finetune",
        *["eval"] * len(evaluators),
    ]
    assert {s.state() for s in stages} == {"done"}
    for stage in stages_of(root, "eval"):
        assert stage.key in first.out and f"{pretrain} -> {finetune}" in first.out
    before = snapshot(root)
    train(*words)
    again = capsys.readouterr()
    assert snapshot(root) == before
    assert again.out == first.out
    assert again.err.count(": done") == len(stages) and "running" not in again.err


def test_what_status_and_config_say_of_a_stage(whole):
    planned = training_stages(composed(*tiny("cr", "cr", whole)))
    for stage in planned:
        directory = stage.directory(whole)
        status = directory.status()
        assert status.key == stage.key and directory.key == stage.key[:12]
        assert status.parent == (stage.parent.key if stage.parent else None)
        assert status.state == "done" and status.finished >= status.started
        assert status.lineage == stage.lineage and status.wall_seconds > 0
        assert len(status.fingerprint) == 64
        environment = json.loads((directory.path / "env.json").read_text())
        assert environment["versions"]["torch"] and environment["python"]
    assert len({stage.directory(whole).status().fingerprint for stage in planned}) == 3


def test_equal_commands_in_two_stores_give_equal_bytes(whole, tmp_path):
    train(*tiny("cr", "cr", tmp_path / "runs"))
    assert results(tmp_path / "runs") == results(whole) and len(results(whole)) == 3


def test_a_stage_of_other_data_is_not_reused(whole, tmp_path, capsys):
    root = tmp_path / "runs"
    train(*tiny("none", "st", root, "evaluators=[clean]"))
    (stage,) = stages_of(root, "finetune")
    computed = stage.status().fingerprint
    stage.update(fingerprint="0" * 64)
    before = snapshot(root)
    assert main(tiny("none", "st", root, "evaluators=[clean]")) == 2
    error = capsys.readouterr().err
    assert "computed from other data" in error and "000000000000" in error and computed[:12] in error
    assert snapshot(root) == before
    stage.update(fingerprint=computed)
    train(*tiny("none", "st", root, "evaluators=[clean]"))


def test_a_finished_stage_is_reused_where_its_data_are_gone(whole, monkeypatch):
    stage = training_stages(composed(*tiny("cr", "cr", whole)))[0]

    def gone(*request, **options):
        raise DataError("gone")

    monkeypatch.setattr("robust_transfer.data.opening.open_split", gone)
    module.check_fingerprint(stage, stage.directory(whole), composed(*tiny("cr", "cr", whole)).data)


def test_packed_trainings_are_computed_again_only_for_what_reads_their_weights(whole, tmp_path, capsys):
    root = tmp_path / "runs"
    shutil.copytree(whole, root)
    weights = [stage.model for kind in ("pretrain", "finetune") for stage in stages_of(root, kind)]
    for path in weights:
        path.unlink()
        path.with_name("metrics.jsonl").unlink()
    words = tiny("cr", "cr", root)
    assert main([*words, "--plan"]) == 0
    assert " 0 to run" in capsys.readouterr().out
    train(*words)
    assert not any(path.is_file() for path in weights)
    train(*words, "until=pretrain")
    assert [path.is_file() for path in weights] == [True, False]
    train(*words, "evaluators=[certify,autopgd]")
    assert all(path.is_file() for path in weights)
    assert results(root).items() > results(whole).items()


def fail_in(monkeypatch, kind, error):
    """Let stages of a kind fail after they began."""
    real = module.Runner.launch

    def launch(runner, stage, directory):
        if stage.kind == kind:
            raise error
        return real(runner, stage, directory)

    monkeypatch.setattr(module.Runner, "launch", launch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrain", "finetune", "eval"])
def test_a_failed_stage_is_marked_and_taken_up_again(kind, whole, tmp_path, monkeypatch, capsys):
    root = tmp_path / "runs"
    with monkeypatch.context() as patch:
        fail_in(patch, kind, DataError("image 7 cannot be read", "restore it"))
        assert main(tiny("cr", "cr", root)) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "rt-train: error: image 7 cannot be read",
        "  restore it",
    ]
    (failed,) = stages_of(root, kind)
    status = failed.status()
    assert (status.state, status.error) == ("failed", "image 7 cannot be read")
    assert failed.state() == "resumable"
    assert all(s.state() == "done" for s in directories.scan(root) if s.path != failed.path)
    train(*tiny("cr", "cr", root))
    assert failed.status().error is None and failed.state() == "done"
    assert results(root) == results(whole)


def test_a_bug_of_ours_leaves_the_stage_resumable(tmp_path, monkeypatch, whole):
    root = tmp_path / "runs"
    with monkeypatch.context() as patch:
        fail_in(patch, "finetune", RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug"):
            main(tiny("cr", "cr", root))
    assert stages_of(root, "finetune")[0].state() == "resumable"
    train(*tiny("cr", "cr", root))
    assert results(root) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("until", "kinds"), [("pretrain", 1), ("finetune", 2)])
def test_until_stops_there_and_the_rest_follows(until, kinds, whole, tmp_path, capsys):
    root = tmp_path / "runs"
    train(*tiny("cr", "cr", root, f"until={until}"))
    stages = list(directories.scan(root))
    assert len(stages) == kinds and {s.state() for s in stages} == {"done"}
    assert stages[-1].key in capsys.readouterr().out
    before = snapshot(root)
    train(*tiny("cr", "cr", root))
    assert results(root) == results(whole)
    assert before.items() <= snapshot(root).items()


# ---------------------------------------------------------------- sweeps


def test_a_sweep_pre_trains_once_for_all_its_jobs(tmp_path, capsys):
    root = tmp_path / "runs"
    train("-m", *tiny("st", "st", root, "seed=0,1,2", "evaluators=[clean]"))
    streams = capsys.readouterr()
    assert [len(stages_of(root, kind)) for kind in directories.KINDS] == [1, 3, 3]
    assert [f"job {n}/3" in streams.err for n in (1, 2, 3)] == [True] * 3
    assert streams.err.count("pretrain st-mnist5k-resnet18_small") == 4  # running once, done three times
    assert streams.err.count(": running") == 7
    assert len([line for line in streams.out.splitlines() if "st -> st" in line]) == 3


def test_a_sweep_with_one_wrong_job_is_refused_whole(tmp_path, capsys):
    root = tmp_path / "runs"
    assert main(["-m", *tiny("st", "st", root, "certify.sigma=0.5,-1")]) == 2
    assert "certify.sigma=-1" in capsys.readouterr().err
    assert main(["-m", *tiny("st", "st", root)[:-1], f"store={root}", "dataset=digits,pets"]) == 2
    assert "pets" in capsys.readouterr().err
    assert snapshot(root) == {}


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_job_that_fails_stops_the_sweep_or_not(on_failure, tmp_path, monkeypatch, capsys):
    root = tmp_path / "runs"
    real = module.Runner.launch

    def launch(runner, stage, directory):
        if stage.kind == "finetune" and stage.config.seed == 1:
            raise DataError("image 7 cannot be read", "restore it")
        return real(runner, stage, directory)

    monkeypatch.setattr(module.Runner, "launch", launch)
    words = tiny("none", "st", root, "seed=0,1,2", "evaluators=[clean]", f"on_failure={on_failure}")
    assert main(["-m", *words]) == 2
    streams = capsys.readouterr()
    assert "rt-train: error: image 7 cannot be read\n  restore it" in streams.err
    states = sorted(stage.state() for stage in stages_of(root, "finetune"))
    assert states == (["done", "resumable"] if on_failure == "stop" else ["done", "done", "resumable"])
    assert streams.out.count("none -> st") == (0 if on_failure == "stop" else 2)


# ---------------------------------------------------------------- killed

KILLED = """
import importlib, os, signal, sys
module = importlib.import_module("robust_transfer.{module}")
real, calls = module.{function}, 0
def counted(*args, **options):
    global calls
    calls += 1
    if calls > {survived}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
module.{function} = counted
from robust_transfer.cli.train import main
sys.exit(main(sys.argv[1:]))
"""


def killed(words, **where):
    code = KILLED.format(**where)
    done = subprocess.run([sys.executable, "-c", code, *words], check=False, capture_output=True)
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module_name", "function", "survived"),
    [
        *(("core.files", "write_json", n) for n in (1, 4)),
        ("training.loop", "lr_at", 3),  # inside of the fine-tuning
        ("store.journal", "format_cell", 30),  # inside of a line of the journal
    ],
)
def test_killed_anywhere_the_same_command_ends_with_the_same_bytes(
    module_name, function, survived, whole, tmp_path
):
    root = tmp_path / "runs"
    words = tiny("cr", "cr", root, "runtime.save_every_steps=1")
    code = killed(words, module=module_name, function=function, survived=survived)
    assert code == -signal.SIGKILL
    assert results(root) != results(whole)
    train(*words)
    assert results(root) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrain", "finetune", "eval"])
def test_sigterm_leaves_with_75_and_the_same_command_goes_on(kind, whole, tmp_path):
    root = tmp_path / "runs"
    # Minutes each. Images with a wrong guess draw no n samples: of many, some have the right one.
    long = {
        "pretrain": ["pretrain.max_steps=20000"],
        "finetune": ["finetune.max_steps=20000"],
        "eval": ["certify.subset=300", "certify.n=1000000"],
    }
    words = tiny("cr", "cr", root, *long[kind])
    process = subprocess.Popen(
        [sys.executable, "-m", "robust_transfer.cli.train", *words],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait_for(root, kind)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_SECONDS) == 75
    (stage,) = stages_of(root, kind)
    assert stage.state() == "resumable"
    if kind != "eval":
        assert (stage.path / "last.pt").is_file()


def wait_for(root, kind):
    """Wait until a stage of this kind has written its first numbers."""
    name = "journal.0.csv" if kind == "eval" else "metrics.jsonl"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if any((stage.path / name).is_file() for stage in stages_of(root, kind)):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {kind} stage began")


def test_a_directory_that_is_no_stage_is_no_obstacle(whole, tmp_path):
    (tmp_path / "runs" / "eval" / "notes").mkdir(parents=True)
    (tmp_path / "runs" / "eval" / "my-notes").mkdir()
    train(*tiny("none", "st", tmp_path / "runs", "evaluators=[clean]"))
    assert StageDirectory(tmp_path / "runs" / "eval" / "my-notes").state() == "missing"
