"""A smoke run walks the full run's path: only steps, image counts, batches and n shrink."""

import json

import pytest

from robust_transfer.cli import compose, launching
from robust_transfer.cli.train import main
from robust_transfer.store import directories
from tiny_runs import shipped_configs

RUN = ["pretrain=simclr", "finetune=cr", "dataset=pets"]
SHRINK = {"max_steps", "batch_size", "subset", "num_steps", "n", "generated", "parent"}


def trace(*words):
    """Return what each stage is, but for what a budget caps."""
    with shipped_configs():
        (job,) = launching.planned(compose.read("train", [*RUN, *words], multirun=False))
    return [(stage.kind, stage.label, without_caps(stage.identity)) for stage in job.stages]


def without_caps(value):
    if isinstance(value, dict):
        return {k: without_caps(v) for k, v in value.items() if k not in SHRINK}
    return value


@pytest.mark.parametrize("finetune", ["cr", "at", "st", "st_linear"])
def test_smoke_has_the_trace_of_the_full_run(finetune):
    smoke = trace(f"finetune={finetune}", "budget=smoke")
    assert smoke == trace(f"finetune={finetune}")
    assert smoke[0][2]["model"] == {
        "arch": "resnet50",
        "width": 64,
        "image_size": 224,
        "normalize": "none",
    }


@pytest.mark.slow
def test_smoke_runs_marks_its_records_and_enters_no_table(tmp_path, capsys):
    # the real ResNet-50, with the generated images of a true configuration
    root = tmp_path / "runs"
    assert main([*RUN, "budget=smoke", "model.image_size=64", f"store={root}"]) == 0
    assert "smoke" in capsys.readouterr().out
    (evaluation,) = [stage for stage in directories.scan(root) if stage.kind == "eval"]
    assert json.loads((evaluation.path / "summary.json").read_text())["marks"] == ["smoke"]

    from robust_transfer.cli.report import main as report

    report(["table", "3", "--store", str(root)])
    assert evaluation.key not in capsys.readouterr().out
