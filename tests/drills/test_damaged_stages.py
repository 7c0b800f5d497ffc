"""Files cut short or deleted: what can be computed again is, what cannot is named in one line."""

import json
import shutil

import pytest

import started
from tiny_runs import results

pytestmark = pytest.mark.drill

SIZES = (*started.SHORT, "pretrain.max_steps=60", "evaluators=[autopgd,certify]")


def command(root, *more):
    return started.words("st", "cr", root, *SIZES, *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    started.finished(command(folder / "runs"), folder / "log")
    return folder / "runs"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Return a store whose pre-training was killed, with two checkpoints."""
    folder = tmp_path_factory.mktemp("interrupted")
    run = started.Command(command(folder / "runs"), folder / "log")
    assert run.until(
        lambda: run.works_at(found := started.stage(folder / "runs", "pretrain")) and started.lines(found) > 5
    )
    run.process.kill()
    run.process.join()
    return folder / "runs"


def damaged(store, tmp_path):
    return shutil.copytree(store, tmp_path / "runs")


def unfinish(stage):
    """Put a finished evaluation back to where it had its journal only."""
    stage.update(state="running")
    for name in ("records.csv", "summary.json"):
        (stage.path / name).unlink(missing_ok=True)


def cut(path, size):
    content = path.read_bytes()
    path.write_bytes(content[:size])
    assert 0 < len(path.read_bytes()) < len(content)


@pytest.mark.parametrize("name", ["autopgd", "certify"])
@pytest.mark.parametrize(
    "where", ["in a row", "in a number's last row", "in the header", "in the columns", "all"]
)
def test_a_journal_cut_short(name, where, whole, tmp_path):
    root = damaged(whole, tmp_path)
    stage = started.stage(root, "eval", name)
    unfinish(stage)
    journal = stage.path / "journal.0.csv"
    content = journal.read_bytes()
    lines = content.splitlines(keepends=True)
    assert len(lines) > 4
    size = {
        "in a row": len(content) // 2 + (content[len(content) // 2 - 1] == ord("\n")),
        "in a number's last row": len(content) - 2,
        "in the header": len(lines[0]) // 2,
        "in the columns": len(lines[0]) + 3,
    }.get(where)
    if size is None:
        journal.unlink()
    else:
        cut(journal, size)
    said = started.finished(command(root), tmp_path / "log")
    assert f"{stage.path.name}: resuming" in said
    assert results(root) == results(whole)
    assert sorted(journal.read_bytes().splitlines()) == sorted(content.splitlines())


@pytest.mark.parametrize("name", ["autopgd", "certify"])
@pytest.mark.parametrize("file", ["records.csv", "summary.json", "status.json"])
def test_a_result_of_an_evaluation_deleted(name, file, whole, tmp_path):
    root = damaged(whole, tmp_path)
    stage = started.stage(root, "eval", name)
    journal = (stage.path / "journal.0.csv").read_bytes()
    metrics = stage.summary().metrics
    (stage.path / file).unlink()
    started.finished(command(root), tmp_path / "log")
    assert results(root) == results(whole)
    assert (stage.path / "journal.0.csv").read_bytes() == journal  # nothing was measured again
    assert stage.summary().metrics == metrics and stage.state() == "done"


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_the_result_of_a_training_deleted(kind, whole, tmp_path):
    root = damaged(whole, tmp_path)
    started.stage(root, kind).model.unlink()
    started.finished(command(root), tmp_path / "log")
    assert results(root) == results(whole)


def test_a_status_cut_short(whole, tmp_path):
    root = damaged(whole, tmp_path)
    for stage in started.stages(root):
        cut(stage.path / "status.json", 40)
    started.finished(command(root), tmp_path / "log")
    assert results(root) == results(whole)


def test_the_last_checkpoint_cut_short(interrupted, whole, tmp_path):
    root = damaged(interrupted, tmp_path)
    last = started.stage(root, "pretrain").path / "last.pt"
    cut(last, last.stat().st_size * 2 // 3)
    said = started.finished(command(root), tmp_path / "log")
    warnings = [line for line in said.splitlines() if line.startswith("warning") and str(last.parent) in line]
    assert len(warnings) == 1 and str(last) in warnings[0] and "last.previous.pt" in warnings[0]
    assert results(root) == results(whole)


def test_both_checkpoints_cut_short(interrupted, whole, tmp_path):
    root = damaged(interrupted, tmp_path)
    stage = started.stage(root, "pretrain")
    for name in ("last.pt", "last.previous.pt"):
        cut(stage.path / name, 1000)
    for _ in range(2):
        _, hint = started.refusal(started.Command(command(root), tmp_path / "log"))
        assert f"delete {stage.path}" in hint
    shutil.rmtree(stage.path)
    started.finished(command(root), tmp_path / "log")
    assert results(root) == results(whole)


def test_metrics_cut_in_a_line(interrupted, whole, tmp_path):
    root = damaged(interrupted, tmp_path)
    metrics = started.stage(root, "pretrain").path / "metrics.jsonl"
    cut(metrics, metrics.stat().st_size - 5)
    started.finished(command(root), tmp_path / "log")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 60
    assert results(root) == results(whole)
