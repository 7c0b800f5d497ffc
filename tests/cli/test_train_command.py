"""rt-train as a command: help, plans, queries; what it imports."""

import json
import subprocess
import sys

import pytest
import yaml

from robust_transfer.cli.train import main
from robust_transfer.store.directories import scan
from tiny_runs import tiny


def test_help_names_groups_choices_and_flags(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in (
        "pretrain=NAME",
        "simclr",
        "flowers102",
        "resnet18_small",
        "--plan",
        "-m, --multirun",
        "quickstart",
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100 and "_base" not in text


def test_a_plan_names_stages_states_and_keys_and_writes_nothing(tmp_path, capsys):
    root = tmp_path / "runs"
    assert main([*tiny("cr", "cr", root), "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["stage", "pretrain", "finetune", "eval"]
    assert all("missing" in line for line in lines[1:4]) and not root.exists()


def test_a_plan_for_a_program_holds_what_the_text_does(tmp_path, capsys):
    assert main([*tiny("cr", "cr", "ignored"), "--store", str(tmp_path / "runs"), "--plan", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)
    assert [stage["kind"] for stage in stages] == ["pretrain", "finetune", "eval"]
    assert all(stage["state"] == "missing" and stage["missing"] is None for stage in stages)
    assert stages[1]["steps"] > 0 and stages[1]["hours"] is None and len(stages[1]["key"]) == 12


def test_a_plan_fits_into_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = ["pretrain=simclr", "finetune=cr", "dataset=flowers102", f"store={tmp_path}/runs"]
    assert main([*words, f"data.root={tmp_path}", "--plan"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (None, "unknown"),
        (0.0, "0 hours"),
        (0.01234, "0.012 hours"),
        (0.996, "1.0 hours"),
        (1e-6, "under 0.001 hours"),
        (9.97, "10 hours"),
        (7.68, "7.7 hours"),
        (47.9, "48 hours"),
        (768.86, "32 days"),
        (15000.0, "620 days"),
    ],
)
def test_times_have_two_digits(hours, text):
    from robust_transfer.cli.plans import _hours_text

    assert _hours_text(hours) == text


def test_a_run_says_first_what_it_will_do_then_where(tmp_path, capsys):
    assert main(tiny("none", "cr", tmp_path / "runs")) == 0
    first, device, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("2 stages to run; first finetune cr <- none on ") and " steps, " in first
    assert device.startswith("device: ") and "time unknown" in device
    assert main(tiny("none", "cr", tmp_path / "runs")) == 0
    assert capsys.readouterr().err.splitlines()[0] == "every stage is done"


def test_a_plan_of_a_finished_run_says_done(tmp_path, capsys):
    words = tiny("none", "cr", tmp_path / "runs")
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--plan"]) == 0
    out = capsys.readouterr().out
    assert out.count("done") == 2 and "missing" not in out
    assert all(stage.key in out for stage in scan(tmp_path / "runs"))


def test_a_plan_that_lacks_data_says_which_and_exits_2(tmp_path, capsys):
    words = [
        "pretrain=none",
        "finetune=cr",
        "dataset=pets",
        f"data.root={tmp_path}",
        f"store={tmp_path}/runs",
    ]
    assert main([*words, "--plan"]) == 2
    out = capsys.readouterr().out
    assert "blocked" in out and "DATA MISSING" in out and "rt-data status pets" in out
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_a_sweep_lists_a_shared_stage_once(tmp_path, capsys):
    assert (
        main(["-m", "--plan", *tiny("st", "st", tmp_path / "runs", "seed=0,1,2", "evaluators=[clean]")]) == 0
    )
    out = capsys.readouterr().out
    assert [out.count(f"\n{kind} ") for kind in ("pretrain", "finetune", "eval")] == [1, 3, 3]
    assert "7 stages, 1 shared between runs" in out


def test_cfg_job_prints_the_composed_values(capsys):
    assert main(["pretrain=none", "finetune=cr", "dataset=digits", "finetune.lr=0.5", "--cfg", "job"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["finetune"]["lr"] == 0.5 and values["finetune"]["name"] == "cr"
    assert values["dataset"]["name"] == "digits" and "hydra" not in values


def test_ones_own_configs_stand_beside_the_shipped_ones(tmp_path, capsys):
    (tmp_path / "conf" / "finetune").mkdir(parents=True)
    (tmp_path / "conf" / "finetune" / "mine.yaml").write_text("defaults: [cr]\nsigma: 0.125\n")
    words = ["pretrain=none", "finetune=mine", "dataset=digits", "certify.sigma=0.125", "--plan"]
    assert main([*words, "--config-dir", str(tmp_path / "conf"), f"store={tmp_path}/runs"]) == 0
    assert "cr <- none" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["pretrain=none", "finetune=cr", "dataset=digits", "--cfg", "job"],
        ["pretrain=cr", "finetune=cr", "source=mnist5k", "dataset=digits", "--plan"],
    ],
)
def test_what_computes_nothing_imports_no_torch(words, tmp_path):
    code = (
        "import sys, json\n"
        "from robust_transfer.cli.train import main\n"
        "code = main(sys.argv[1:])\n"
        "print(json.dumps([code, sorted({'torch', 'torchvision', 'pandas'} & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done.stderr


def test_the_row_shows_what_the_summary_holds(tmp_path, capsys):
    assert main(tiny("none", "st", tmp_path / "runs", "evaluators=[clean]", "clean.subset=50")) == 0
    out = capsys.readouterr().out
    (stage,) = [s for s in scan(tmp_path / "runs") if s.kind == "eval"]
    summary = stage.summary()
    row = next(line for line in out.splitlines() if stage.key in line)
    assert f"{100 * summary.metrics['sa']:.1f}" in row and " 50 " in row and "digits" in row
    assert all(len(line) <= 100 for line in out.splitlines()[:2])
