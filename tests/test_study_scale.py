"""scripts/study_scale.py at 16 pixels: it kills, goes on, skips what is done, and its sums are right."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robust_transfer.cli import train
from robust_transfer.store import directories

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
STEPS, BATCH, N = 40, 8, 200
SMALL = f"--arch resnet18_small --width 8 --size 16 --steps {STEPS} --n {N} --batch-size {BATCH} --workers 0"
IMAGENET, CIFAR = 1_281_167, 50_000


def draw_images(folder: Path) -> None:
    """Draw a dark and a bright class, which anything learns."""
    pixels = np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 8)):
        for name, level in (("bright", 160), ("dark", 0)):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                image = level + pixels.integers(0, 96, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(image.astype(np.uint8)).save(folder / split / name / f"{i}.png")


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        import study_scale

        yield study_scale


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study_scale")
    draw_images(folder / "images")
    places = {"images": folder / "images", "store": folder / "runs", "out": folder / "out"}
    named = [word for name, path in places.items() for word in (f"--{name}", str(path))]
    return [*SMALL.split(), "--certify-images", "3", "--attack-images", "4", *named]


@pytest.fixture(scope="module")
def report(script, words):
    """Run all of it and return what was written.

    The stage that is killed and goes on has its own processes, as all have in use; the others run in this
    one, for imports would be most of their time.
    """
    own_process = script.run
    with pytest.MonkeyPatch.context() as patch:

        def run(command):
            alone = {"pretrain=at", "until=pretrain"} <= set(command)
            return own_process(command) if alone else train.main(command[3:])

        patch.setattr(script, "run", run)
        assert script.main(words) == 0
    out = Path(words[-1])
    (path,) = out.glob("*.json")
    assert "NOT the study's scale" in path.with_suffix(".md").read_text()
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def stages(report, words):
    """Return the directories in the report by (kind, name)."""
    root = Path(words[words.index("--store") + 1])
    return {(row["kind"], row["name"]): directories.find(root, row["key"]).path for row in report["stages"]}


@pytest.fixture(scope="module")
def rows(report):
    return {(row["kind"], row["name"]): row for row in report["stages"]}


def test_every_recipe_was_run_and_the_run_says_that_it_was_small(report, rows):
    pretrain = [("pretrain", name) for name in ("st", "at", "cr", "simclr")]
    finetune = [("finetune", name) for name in ("at", "cr", "st_linear")]
    assert set(rows) == {*pretrain, *finetune, ("eval", "autopgd"), ("eval", "certify")}
    assert all(rows[stage]["steps"] == STEPS for stage in (*pretrain, *finetune))
    assert report["study_scale"] is False
    text = " ".join(report["smaller"])
    assert all(word in text for word in ("arch", "size", "steps", "n=200", "batch_size of all", "certify: "))
    assert "killed" not in text


def test_the_killed_stage_went_on_from_its_checkpoint(report, rows, stages):
    (resumed,) = report["resumed"]
    assert (resumed["key"], resumed["state"]) == (rows["pretrain", "at"]["key"], "done")
    assert STEPS // 4 <= resumed["from_step"] < resumed["killed_after_step"] <= STEPS
    steps = [line["step"] for line in lines(stages["pretrain", "at"])]
    assert steps == sorted(set(steps)) and steps[-1] == STEPS


def test_a_second_start_runs_nothing(report, script, words, monkeypatch):
    monkeypatch.setattr(script.subprocess, "Popen", lambda command: pytest.fail(f"run again: {command}"))
    stages = script.run_chain(script.arguments(words))
    assert [stage.key[:12] for stage in stages] == [row["key"] for row in report["stages"]]


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_throughput_is_that_of_metrics_jsonl(rows, stages):
    for stage, row in rows.items():
        if stage[0] != "eval":
            step, seconds = np.array([[line["step"], line["seconds"]] for line in lines(stages[stage])]).T
            expected = np.median(np.diff(seconds) / np.diff(step))
            assert row["steps_per_second"] == pytest.approx(1 / expected)
            assert row["images_per_second"] == pytest.approx(BATCH / expected)
            assert row["peak_memory_bytes"] > 0


def column(path, name):
    with (path / "records.csv").open(newline="") as stream:
        return np.array([int(row[name]) for row in csv.DictReader(stream)])


def test_time_of_an_evaluated_image_is_that_of_the_records(rows, stages):
    samples = column(stages["eval", "certify"], "samples_drawn")
    steps = column(stages["eval", "autopgd"], "gradient_steps")
    for name, work, most, passes in (
        ("certify", samples, 100 + N, sum(100 + samples)),
        ("autopgd", steps, 1 + 5 * 101 * 2, sum(1 + 2 * steps)),
    ):
        wall = json.loads((stages["eval", name] / "summary.json").read_text())["wall_seconds"]
        row = rows["eval", name]
        assert (row["num_images"], row["num_right"]) == (len(work), np.count_nonzero(work))
        assert row["seconds_per_right_image"] == pytest.approx(wall / np.count_nonzero(work))
        assert row["seconds_per_image_at_most"] == pytest.approx(wall / passes * most)


def test_hours_of_the_tables_are_steps_times_seconds(report, rows):
    def images(kind, name):
        return rows[kind, name]["images_per_second"]

    certified = rows["eval", "certify"]["seconds_per_image_at_most"] / (100 + N)  # a pass
    at = 90 * (IMAGENET // 512) * 512 / images("pretrain", "at")
    cr = 90 * (IMAGENET // 100) * 100 / images("pretrain", "cr")
    simclr = 100 * (IMAGENET // 4096) * 4096 / images("pretrain", "simclr")
    st = 90 * (IMAGENET // 256) * 256 / images("pretrain", "st")
    hours = report["hours"]
    assert hours["table2"]["pretrain"] * 3600 == pytest.approx(at + simclr)
    assert hours["all"]["pretrain"] * 3600 == pytest.approx(at + cr + simclr + st)
    # Table 5: the last layer on two sets of 50,000 images, certified with noise and without on 500 images
    linear = 2 * 150 * (CIFAR // 64) * 64 / images("finetune", "st_linear")
    assert hours["table5"] == pytest.approx(
        {
            "pretrain": cr / 3600,
            "finetune": linear / 3600,
            "eval": 2 * 500 * (100_100 + 1) * certified / 3600,
            "total": (cr + linear + 2 * 500 * 100_101 * certified) / 3600,
        }
    )
    # Table 4: three AT and three CR fine-tunings a set, the first without the tenth that ends them
    tuned_at = 2 * 3 * 150 * (CIFAR * 9 // 10 // 64) * 64 / images("finetune", "at")
    tuned_cr = 2 * 3 * 150 * (CIFAR // 32) * 32 / images("finetune", "cr")
    assert hours["table4"]["finetune"] * 3600 == pytest.approx(tuned_at + tuned_cr)


def test_a_batch_without_memory_is_tried_once_more_with_checkpointing(script, words, tmp_path, monkeypatch):
    commands = []

    def fail(command):
        commands.append(command)
        (stage,) = script.planned(*command[3:])
        directory = stage.directory(tmp_path)
        directory.path.mkdir(parents=True, exist_ok=True)
        directory.update(state=directories.FAILED, error="no memory left on a GPU for 8 images per device")
        return 2

    monkeypatch.setattr(script, "run", fail)
    options = script.arguments([*words, "--store", str(tmp_path)])
    with pytest.raises(SystemExit, match="ended with 2"):
        script.run_chain(options)
    flags = [[word for word in c if word.startswith("runtime.activation")] for c in commands]
    assert flags == [["runtime.activation_checkpointing=false"], ["runtime.activation_checkpointing=true"]]


def test_fewer_images_than_a_batch_are_refused_before_anything_runs(script, words, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "run", lambda command: pytest.fail("run"))
    options = script.arguments([*words, "--store", str(tmp_path), "--batch-size", "64"])
    with pytest.raises(SystemExit, match="24 training images are no batch of 64"):
        script.run_chain(options)
