import threading

import pytest
import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.training import checkpoints


def state(step):
    return {"step": step, "model": {"weight": torch.full((50,), float(step))}, "names": ["a", "b"]}


def test_newest_state_comes_back_and_the_one_before_is_kept(tmp_path):
    assert checkpoints.load(tmp_path) is None
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, state(step))
    found = checkpoints.load(tmp_path)
    assert found["step"] == 3 and torch.equal(found["model"]["weight"], torch.full((50,), 3.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.previous.pt", "last.pt"]
    (tmp_path / "last.pt").unlink()
    assert checkpoints.load(tmp_path)["step"] == 2


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_weight(path):
    content = bytearray(path.read_bytes())
    place = content.index(torch.full((50,), float(3)).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_weight, empty])
def test_an_unreadable_one_falls_back_to_the_one_before_with_one_line(tmp_path, caplog, damage):
    checkpoints.save(tmp_path, state(2))
    checkpoints.save(tmp_path, state(3))
    damage(tmp_path / "last.pt")
    assert checkpoints.load(tmp_path)["step"] == 2
    (line,) = caplog.messages
    assert "last.pt cannot be read" in line and "last.previous.pt" in line
    # The next save must not put the damaged file in the place of the good one.
    checkpoints.save(tmp_path, state(4))
    (tmp_path / "last.pt").unlink()
    assert checkpoints.load(tmp_path)["step"] == 2


def test_none_readable_names_the_directory_to_delete(tmp_path):
    for step in (1, 2):
        checkpoints.save(tmp_path, state(step))
    for name in ("last.pt", "last.previous.pt"):
        truncate(tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(tmp_path)
    assert str(tmp_path) in caught.value.hints[0]
    assert (tmp_path / "last.pt").exists() and (tmp_path / "last.previous.pt").exists()


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trap"), "w"))

    torch.save({"step": Trap()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError):
        checkpoints.load(tmp_path)
    assert not (tmp_path / "trap").exists()


def test_a_save_that_fails_leaves_the_old_one(tmp_path):
    checkpoints.save(tmp_path, state(1))
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        checkpoints.save(tmp_path, {"step": lambda: None})
    assert checkpoints.load(tmp_path)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_state_is_written_as_it_was_and_one_at_a_time(tmp_path, monkeypatch):
    write, free, writing, together = checkpoints.save, threading.Semaphore(0), [], []

    def slow(directory, given):
        writing.append(given["step"])
        free.acquire()
        together.append(len(writing))
        write(directory, given)
        writing.pop()

    monkeypatch.setattr(checkpoints, "save", slow)
    writer, weight = checkpoints.Writer(tmp_path), torch.zeros(3)
    writer.save({"step": 1, "model": {"weight": weight}, "optimizer": [(weight,)]})
    weight += 1  # training goes on
    assert not (tmp_path / "last.pt").exists()
    threading.Timer(0.2, free.release, [2]).start()
    writer.save({"step": 2, "model": {"weight": weight}, "optimizer": []})
    writer.wait()
    assert checkpoints.load(tmp_path)["model"]["weight"].tolist() == [1, 1, 1]
    (tmp_path / "last.pt").unlink()
    first = checkpoints.load(tmp_path)
    assert first["model"]["weight"].tolist() == first["optimizer"][0][0].tolist() == [0, 0, 0]
    assert together == [1, 1]
