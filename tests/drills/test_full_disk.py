"""A disk that is full, over its limit or read-only: a short error, nothing half-written counts as whole."""

import os
import subprocess

import pytest

import started
from tiny_runs import results

pytestmark = pytest.mark.drill

SIZES = (*started.SHORT, "autopgd.subset=64", "evaluators=[autopgd,certify]")


def command(root, *more):
    return started.words("st", "st", root, *SIZES, *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return started.undisturbed(command, tmp_path_factory.mktemp("whole"))


def mount(*words):
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """Yield a disk of its own with some megabytes on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)):
        pytest.skip("cannot mount a disk here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def refused(arguments, log, **options):
    """Run to a user's error and return its lines."""
    return started.refusal(started.Command(arguments, log, **options))


def parts_taken_for_whole(root, whole):
    """Name the results that are there and are not those of an undisturbed run."""
    return [name for name, content in results(root).items() if whole[name] != content]


def fill(path, *, leaving):
    """Write a file that leaves so many bytes of the disk."""
    room = os.statvfs(path.parent)
    path.write_bytes(bytes(room.f_bavail * room.f_frsize - leaving))


def test_a_full_disk(whole, small_disk, tmp_path):
    root, ballast = small_disk / "runs", small_disk / "ballast"
    reached, rooms = [], [0, 16, 64, 256, 768, 1024, 1280, 1536]
    for kilobytes in rooms:
        fill(ballast, leaving=kilobytes * 1024)
        run = started.Command(command(root), tmp_path / "log")
        if run.wait() == 0:
            break
        (error, *_) = started.refusal(run)
        assert f"store={root}" in error and "No space left on device" in error
        assert parts_taken_for_whole(root, whole) == []
        reached.append(len(started.stages(root)))
        ballast.unlink()
    ballast.unlink(missing_ok=True)
    assert len(reached) >= 4 and reached[-1] > 1, reached  # it failed in several places
    started.finished(command(root), tmp_path / "log")
    assert results(root) == whole


@pytest.mark.parametrize(("until", "most"), [("pretrain", 40_000), ("finetune", 100_000), (None, 2_000)])
def test_a_limit_on_the_size_of_files(until, most, whole, tmp_path):
    root = tmp_path / "runs"
    before = {"pretrain": [], "finetune": ["until=pretrain"], None: ["until=finetune"]}[until]
    if before:
        started.finished(command(root, *before), tmp_path / "log")
    (error, *_) = refused(command(root), tmp_path / "log", file_size=most)
    assert f"store={root}" in error and "File too large" in error
    assert parts_taken_for_whole(root, whole) == []
    (interrupted,) = [s for s in started.stages(root) if s.state() == "resumable"]
    assert interrupted.status().state == "failed"
    started.finished(command(root), tmp_path / "log")
    assert results(root) == whole


def test_a_read_only_disk(whole, small_disk, tmp_path):
    root = small_disk / "runs"
    started.finished(command(root, "until=pretrain"), tmp_path / "log")
    assert mount("-o", "remount,ro", str(small_disk))
    (error, *_) = refused(command(root), tmp_path / "log")
    assert f"store={root} cannot be written (Read-only file system)" in error
    assert mount("-o", "remount,rw", str(small_disk))
    started.finished(command(root), tmp_path / "log")
    assert results(root) == whole


def test_a_store_under_a_file(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    (error, *_) = refused(command(tmp_path / "file" / "runs"), tmp_path / "log")
    assert "cannot be written (Not a directory)" in error
    assert (tmp_path / "file").read_text() == "not a directory"
