"""Stages of every format, as real runs left them: shown, tabulated and verified, and never reused.

tests/frozen/formatN holds what the runs of tests/frozen/freeze.py left, less weights and the host's name.
Format 1 was written by commit 31c741d. Format 2 is made anew, by `python tests/frozen/freeze.py`, as long as
it is not closed by a release.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from robust_transfer.config.evaluators import MODES, DecideConfig, ExactConfig
from robust_transfer.config.schedules import CosineSchedule, StepSchedule
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError
from robust_transfer.report.analysis.estimates import from_runs
from robust_transfer.report.index.collect import collect
from robust_transfer.report.index.protocols import Requirements, choose
from robust_transfer.store.directories import scan
from robust_transfer.store.stage_config import read_stage_config

FROZEN = Path(__file__).parents[1] / "frozen"
FORMATS = sorted(path.name for path in FROZEN.glob("format*"))


@pytest.fixture(params=FORMATS)
def store(request, tmp_path):
    return Path(shutil.copytree(FROZEN / request.param, tmp_path / "store"))


def only(store, pattern):
    [found] = store.glob(pattern)
    return found


def test_every_stage_is_listed_and_shown(store, capsys):
    assert report(["runs", "--store", str(store)]) == 0
    listed = capsys.readouterr().out
    stages = list(scan(store))
    assert len(stages) == 8
    for stage in stages:
        assert stage.key in listed
        assert report(["show", stage.key, "--store", str(store)]) == 0
        assert stage.path.name in capsys.readouterr().out


def test_every_evaluation_is_verified_by_its_own_rule(store, capsys):
    runs = collect(store).runs
    modes = {run.settings["mode"] for run in runs if run.evaluator == "certify"}
    assert len(runs) == 6 and modes == {"exact", "decide", "adaptive"}
    for run in runs:
        assert report(["verify", run.key, "--store", str(store)]) == 0
        assert " 0 differ" in capsys.readouterr().out, run.path.name


def test_a_changed_number_is_noticed(store, capsys):
    path = only(store, "eval/pgd-*/records.csv")
    head, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[head.split(",").index("robust")] = "1" if "robust" in head else "0"
    cells[head.split(",").index("correct")] = "2"
    path.write_text("\n".join([head, ",".join(cells), *rest]) + "\n")
    assert report(["verify", path.parent.name.split("-")[-1], "--store", str(store)]) == 2


def test_they_are_tabulated(store):
    index = collect(store)
    results = from_runs(
        index, choose(index, index.by_cell, Requirements(source="mnist5k", experiment="frozen", threat=None))
    )
    assert {cell.evaluator for cell in results} == {"clean", "pgd", "autopgd", "certify"}
    for result in results.values():
        (run,) = result.runs
        for metric, estimate in result.estimates.items():
            assert estimate.value == pytest.approx(run.metrics[metric])
    [certified] = [result for cell, result in results.items() if cell.evaluator == "certify"]
    assert set(certified.estimates) == {"sa", "ra", "acr"} and certified.runs[0].settings["mode"] != "decide"


def test_their_settings_are_read_with_what_was_live(store):
    pretrain, finetune = (read_stage_config(only(store, f"{kind}/*")) for kind in ("pretrain", "finetune"))
    assert pretrain.config.schedule == StepSchedule(step_epochs=30, gamma=0.1)
    assert finetune.config.schedule == CosineSchedule()
    assert (finetune.config.batch_size, finetune.dataset.shots, finetune.model.width) == (4, 2, 8)
    certify = [read_stage_config(path).config for path in store.glob("eval/certify-*")]
    assert [c.radii for c in certify if isinstance(c, DecideConfig)] == [[0.25, 0.5]]
    assert [c.tolerance for c in certify if c.mode == "adaptive"] == [0.02]
    assert sum(isinstance(c, ExactConfig) for c in certify) == 1
    for path in store.glob("*/*"):
        read = read_stage_config(path)
        assert read.key.startswith(path.name.split("-")[-1])


def test_a_field_that_was_added_later_has_its_default(store, monkeypatch):
    @dataclasses.dataclass(kw_only=True)
    class Grown(ExactConfig):
        added: int | None = option("added later", default_for_hash=None)

    monkeypatch.setitem(MODES, "exact", Grown)
    texts = {path: (path / "config.yaml").read_text() for path in store.glob("eval/certify-*")}
    [exact] = [path for path, text in texts.items() if "mode: exact" in text]
    assert read_stage_config(exact).config.added is None


@pytest.mark.parametrize("damage", ["unknown field", "missing field", "no mapping", "no yaml", "no file"])
def test_what_cannot_be_read_is_one_error_that_names_the_commit(store, damage):
    path = only(store, "eval/clean-*") / "config.yaml"
    commit = json.loads((path.parent / "env.json").read_text())["commit"]
    values = yaml.safe_load(path.read_text())
    if damage == "unknown field":
        values["config"]["of_the_future"] = 1
    if damage == "missing field":
        del values["config"]["arithmetic"]
    path.write_text({"no mapping": "[1, 2]", "no yaml": "a: [}"}.get(damage, yaml.safe_dump(values)))
    if damage == "no file":
        path.unlink()
    with pytest.raises(ConfigError, match="cannot be read by this version") as caught:
        read_stage_config(path.parent)
    assert commit in caught.value.hints[0]


def test_the_plan_says_which_stages_are_of_an_older_format(store, capsys):
    words = ["pretrain=none", "finetune=cr", "dataset=digits", f"store={store}", "--plan"]
    assert train(words) == 0
    told = "8 stages in" in (out := capsys.readouterr().out) and "are not reused" in out
    assert told == (json.loads(only(store, "pretrain/*/status.json").read_text()).get("format", 1) < 2)
