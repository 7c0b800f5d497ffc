"""rt-eval as a command: the first word, the three ways to name a checkpoint, one key for all."""

import shutil

import pytest
import yaml

from robust_transfer.cli import train
from robust_transfer.cli.evaluate import _named_evaluator, main
from robust_transfer.store.directories import StageDirectory, scan
from tiny_runs import snapshot, tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a store with a finished run, its fine-tuning and its evaluation."""
    root = tmp_path_factory.mktemp("evaluate") / "runs"
    assert train.main(tiny("none", "cr", root)) == 0
    stages = {stage.kind: stage for stage in scan(root)}
    return root, stages["finetune"], stages["eval"]


SAME = ("certify", "dataset=digits", "certify.n=100", "certify.subset=5", "runtime.device=cpu")


def test_alone_it_lists_the_evaluators_and_exits_2(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in ("clean", "pgd", "autopgd", "certify"))


def test_help_exits_0(capsys):
    assert main(["--help"]) == 0
    assert "rt-eval EVALUATOR checkpoint=C dataset=D" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["key", "short key", "directory", "file"])
def test_every_name_of_a_checkpoint_is_the_evaluation_of_the_run_itself(how, finished, capsys):
    root, finetune, evaluation = finished
    named = {
        "key": finetune.key,
        "short key": finetune.key[:6],
        "directory": finetune.path,
        "file": finetune.model,
    }[how]
    before = snapshot(root)
    assert main([*SAME, f"checkpoint={named}", f"store={root}"]) == 0
    streams = capsys.readouterr()
    assert evaluation.key in streams.out and "running" not in streams.err
    assert snapshot(root) == before


def test_a_copy_of_the_file_elsewhere_is_another_evaluation_with_the_same_records(finished, tmp_path):
    _, finetune, evaluation = finished
    shutil.copy(finetune.model, tmp_path / "copy.safetensors")
    assert main([*SAME, f"checkpoint={tmp_path}/copy.safetensors", f"store={tmp_path}/runs"]) == 0
    (stage,) = scan(tmp_path / "runs")
    assert stage.key != evaluation.key
    assert stage.records.read_bytes() == evaluation.records.read_bytes()


def test_other_settings_are_another_evaluation(finished, tmp_path, capsys):
    _, finetune, evaluation = finished
    words = [f"checkpoint={finetune.path}", "dataset=digits", f"store={tmp_path}/runs", "runtime.device=cpu"]
    assert main(["clean", "clean.subset=30", *words]) == 0
    assert main(["certify", "certify.n=200", "certify.subset=5", *words]) == 0
    found = list(scan(tmp_path / "runs"))
    assert len(found) == 2 and evaluation.key not in {stage.key for stage in found}
    assert {stage.summary().parent for stage in found} == {finetune.key}


def test_a_plan_says_the_key_and_runs_nothing(finished, tmp_path, capsys):
    root, finetune, evaluation = finished
    assert main([*SAME, f"checkpoint={finetune.path}", f"store={tmp_path}/runs", "--plan"]) == 0
    out = capsys.readouterr().out
    assert evaluation.key in out and "missing" in out and list(tmp_path.iterdir()) == []
    assert main([*SAME, f"checkpoint={finetune.key}", f"store={root}", "--plan"]) == 0
    assert "done" in capsys.readouterr().out


def test_the_first_word_names_the_evaluator_for_hydras_queries_too(capsys):
    assert main(["certify", "--cfg", "job", "certify.n=700"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["evaluators"] == ["certify"] and values["certify"]["n"] == 700


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["certify", "seed=1"], ["evaluators=[certify]", "seed=1"]),
        (["evaluators=[clean,pgd]", "seed=1"], ["evaluators=[clean,pgd]", "seed=1"]),
        (["pgd", "checkpoint=123456789012"], ["evaluators=[pgd]", "checkpoint='123456789012'"]),
        (["pgd", "checkpoint=12e4,ab12 x"], ["evaluators=[pgd]", "checkpoint='12e4',ab12 x"]),
        (["pgd", "checkpoint=runs/finetune/x-12"], ["evaluators=[pgd]", "checkpoint=runs/finetune/x-12"]),
    ],
)
def test_words_before_hydra_sees_them(words, expected):
    assert _named_evaluator(words) == expected


def test_a_stage_whose_key_looks_like_a_number_is_found(finished, tmp_path):
    _, finetune, _ = finished
    for key in ("123456789012", "12e456789012", "001234567890"):
        path = tmp_path / "runs" / "finetune" / f"cr-digits-{key}"
        shutil.copytree(finetune.path, path)
        assert main([*SAME, f"checkpoint={key}", f"store={tmp_path}/runs", "--plan"]) == 0
        assert StageDirectory(path).key == key
