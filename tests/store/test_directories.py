"""Stage directories: whole files, states, locks between processes, keys."""

import json
import subprocess
import sys
import threading
import time

import pytest

from patience import PATIENCE_SECONDS
from robust_transfer.core import files
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.files import atomic_path
from robust_transfer.store import directories, locks
from robust_transfer.store.directories import StageDirectory


def make(root, name, *, kind="finetune", **status):
    stage = StageDirectory(root / kind / name)
    stage.path.mkdir(parents=True)
    if status:
        stage.update(**status)
    return stage


# ---------------------------------------------------------------- whole files


def test_a_file_is_there_whole_and_nothing_beside_it(tmp_path):
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"new")
        assert not (tmp_path / "a").exists() and temporary.parent == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error), atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_readers_see_the_old_file_or_the_new_one(tmp_path):
    path, seen, stop = tmp_path / "a.json", set(), threading.Event()
    files.write_json(path, {"n": 0, "text": "x" * 10_000})

    def read():
        while not stop.is_set():
            value = json.loads(path.read_text())
            seen.add(len(value["text"]))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(30):
        files.write_json(path, {"n": n, "text": "x" * 10_000})
    stop.set()
    reader.join()
    assert seen == {10_000}


def test_json_is_sorted_and_refuses_what_is_no_json(tmp_path):
    files.write_json(tmp_path / "a", {"b": 1, "a": [True, None]})
    assert (tmp_path / "a").read_text().index('"a"') < (tmp_path / "a").read_text().index('"b"')
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a", {"b": float("nan")})
    assert files.read_json(tmp_path / "a") == {"a": [True, None], "b": 1}


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"\xff\xfe"])
def test_json_that_is_missing_or_cut_short_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert files.read_json(tmp_path / "a") is None


# ---------------------------------------------------------------- states and names


def test_states_of_a_stage(tmp_path):
    stage = StageDirectory(tmp_path / "finetune" / "st-digits-0123456789ab")
    assert (stage.kind, stage.key, stage.state()) == ("finetune", "0123456789ab", "missing")
    stage.path.mkdir(parents=True)
    assert stage.state() == "missing"
    stage.begin(key="0123")
    assert stage.state() == "resumable" and stage.status().state == "running"
    stage.update(state=directories.FAILED, error="x")
    assert stage.state() == "resumable"
    stage.update(state=directories.DONE)
    assert stage.state() == "resumable"  # its result is gone
    stage.model.write_bytes(b"")
    assert stage.state() == "done" and stage.status().key == "0123"


def test_an_evaluation_is_done_with_records_and_summary(tmp_path):
    stage = make(tmp_path, "clean-digits-0123456789ab", kind="eval", state=directories.DONE)
    assert stage.state() == "resumable" and stage.summary() is None
    files.write_json(stage.path / "summary.json", {"metrics": {}})
    assert stage.state() == "resumable" and stage.summary() is None
    stage.records.write_text("index\n")
    assert stage.state() == "done"


def test_beginning_again_keeps_the_first_start_and_clears_the_error(tmp_path):
    stage = make(tmp_path, "st-0123456789ab", started=5.0, error="x", key="k")
    stage.begin(parent=None)
    status = stage.status()
    assert (status.started, status.error, status.key) == (5.0, None, "k")
    assert status.pid > 0 and status.heartbeat > 5


def test_scan_lists_stages_sorted_and_nothing_else(tmp_path):
    assert list(directories.scan(tmp_path / "nowhere")) == []
    for kind, name in (("eval", "b-2"), ("eval", "a-1"), ("pretrain", "c-3")):
        make(tmp_path, name, kind=kind)
    (tmp_path / "eval" / "nokey").mkdir()
    (tmp_path / "eval" / "file-1").write_text("")
    (tmp_path / "report").mkdir()
    assert [(s.kind, s.path.name) for s in directories.scan(tmp_path)] == [
        ("pretrain", "c-3"),
        ("eval", "a-1"),
        ("eval", "b-2"),
    ]


def test_find_by_key_or_by_its_first_digits(tmp_path):
    first, second = (make(tmp_path, f"st-{key}") for key in ("0123456789ab", "0123ffffffff"))
    assert (
        directories.find(tmp_path, "0123456789ab") == first and directories.find(tmp_path, "0123f") == second
    )
    with pytest.raises(ConfigError, match="key '0123' is short: 2 stages begin with it"):
        directories.find(tmp_path, "0123")
    with pytest.raises(ConfigError, match="no stage with key '0123456789ac'") as caught:
        directories.find(tmp_path, "0123456789ac")
    assert caught.value.hints == ("did you mean '0123456789ab'?",)
    with pytest.raises(ConfigError, match="no stage with key ''"):
        directories.find(tmp_path, "")


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(ConfigError, match=f"store={root} cannot be written") as caught:
            directories.open_root(root)
        assert "store=DIR" in caught.value.hints[0]
    with pytest.raises(ConfigError, match="store is empty"):
        directories.open_root("")
    root = directories.open_root(tmp_path / "new")
    assert sorted(p.name for p in root.iterdir()) == sorted(directories.KINDS)


# ---------------------------------------------------------------- locks

HOLDER = """
import sys, time
from pathlib import Path
from robust_transfer.store import directories, locks
stage = directories.StageDirectory(Path(sys.argv[1]))
with locks.locked(stage, on_wait=print):
    stage.begin()
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(stage):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(stage.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("how", ["leave", "kill"])
def test_a_second_process_waits_until_the_first_is_gone_and_says_for_whom(tmp_path, how):
    stage = make(tmp_path, "st-0123456789ab")
    process, waited = hold(stage), []

    def told(who):
        waited.append(who)
        process.kill() if how == "kill" else process.stdin.close()

    with locks.locked(stage, on_wait=told):
        assert process.wait(timeout=PATIENCE_SECONDS) == (0 if how == "leave" else -9)
    assert len(waited) == 1 and waited[0].startswith(f"process {process.pid} on ")
    assert "heartbeat" in waited[0]
    process.stdout.close()
    if not process.stdin.closed:
        process.stdin.close()


def test_different_stages_do_not_wait_for_each_other(tmp_path):
    def refuse(who):
        raise AssertionError(f"waited for {who}")

    first, second = (make(tmp_path, f"st-{n}") for n in "12")
    with locks.locked(first, on_wait=refuse), locks.locked(second, on_wait=refuse):
        pass
    with locks.locked(first, on_wait=refuse):
        pass


def test_the_heartbeat_stays_young_while_the_stage_runs_and_only_then(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.02)
    stage = make(tmp_path, "st-0123456789ab")
    with locks.locked(stage, on_wait=print):
        stage.begin()
        stage.update(heartbeat=0.0)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while stage.status().heartbeat == 0.0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stage.status().heartbeat > 0.0
        stage.update(state=directories.DONE, heartbeat=1.0)
        time.sleep(0.1)
        assert stage.status().heartbeat == 1.0
    assert [t.name for t in threading.enumerate() if "_beat" in t.name] == []
