import json
import subprocess
import sys

import pytest

from robust_transfer.cli.report import main
from robust_transfer.report.study.natural import EPS
from synthetic_store import add_attack, add_certificates, natural, quickstart, study


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from robust_transfer.cli.report import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "names = {'torch', 'pandas', 'matplotlib', 'numpy', 'scipy', 'hydra', 'omegaconf'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rt-report table quickstart" in done.stdout


@pytest.mark.slow
def test_a_report_imports_no_torch(tmp_path):
    quickstart(tmp_path, seeds=(0,))
    code = (
        "import sys; from robust_transfer.cli.report import main\n"
        f"for words in ('table quickstart', 'figure quickstart', 'compare', 'claims', 'html', 'runs'):\n"
        f"    assert main([*words.split(), '--store', {str(tmp_path)!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words, expected",
    [
        (["tabel", "2"], ["'tabel' is not a command of rt-report", "did you mean 'table'?"]),
        (["--store", "x", "sohw"], ["'sohw' is not a command of rt-report", "did you mean 'show'?"]),
        (
            ["table", "7"],
            ["table '7' is not known (expected quickstart, natural2, natural3, natural4, natural5,"],
        ),
        (["table", "quikstart"], ["table 'quikstart' is not known", "did you mean 'quickstart'?"]),
        (["figure", "curves"], ["figure 'curves' is not known", "did you mean 'curve'?"]),
        (["figure", "curve"], ["figure curve takes one KEY or several"]),
        (["table"], ["the following arguments are required: N", "rt-report table --help"]),
        (["claims", "--source", "ours"], ["argument --source: invalid choice: 'ours'"]),
        (["runs", "--stroe", "x"], ["unrecognized arguments: --stroe", "did you mean '--store'?"]),
        (["export", "abc"], ["the following arguments are required: --to"]),
        (
            ["runs", "--store", "/nowhere"],
            ["store=/nowhere does not exist", "rt-train experiment=quickstart"],
        ),
        (["table", "quickstart", "--source", "published"], ["table quickstart has no published numbers"]),
        (["table", "natural2", "--source", "published"], ["table natural2 has no published numbers"]),
        (["figure", "natural3", "--source", "published"], ["figure natural3 has no published numbers"]),
        (["findings", "--source", "published"], ["the study on real photographs has no published numbers"]),
        (["compare", "abc", "--source", "published"], ["compare takes no KEY or two (found 1)"]),
    ],
)
def test_errors_have_the_form_of_all_commands(run, words, expected):
    code, out, err = run(*words)
    lines = err.splitlines()
    assert code == 2 and out == ""
    assert lines[0].startswith("rt-report: error: ") and len(lines) <= 3
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(part in err for part in expected)


def test_without_words_it_helps(run):
    code, out, _ = run()
    assert code == 0 and "usage: rt-report" in out


def test_runs_lists_evaluations_and_stages_also_smoke(run, tmp_path):
    quickstart(tmp_path, seeds=(0,))
    add_attack(tmp_path, "digits", 5, 3, 10, marks=["smoke"])
    add_attack(tmp_path, "pets", 5, 3, 10, state="running")
    code, out, _ = run("runs", "--store", tmp_path)
    assert code == 0
    assert out.count("  autopgd ") == 5 and out.count("  certify ") == 3
    assert "smoke" in out and "not finished (running)" in out
    assert "at-mnist5k-resnet18_small" in out and "600 s" in out
    assert max(map(len, out.splitlines())) <= 110


def test_an_empty_store_says_how_to_begin(run, tmp_path):
    assert "rt-train experiment=quickstart" in run("runs", "--store", tmp_path)[1]


def test_show_tells_an_evaluation_and_its_training(run, tmp_path):
    stage = add_certificates(tmp_path, "digits", [900] * 20, pretrain="cr", marks=["data not verified"])
    key = stage.name.rsplit("-", 1)[1]
    _, out, _ = run("show", key[:6], "--store", tmp_path)
    for part in (
        "SA",
        "100.0 % [83.2, 100.0] Clopper-Pearson",
        "n 1,000",
        "data not verified",
        "pre-training cr on mnist5k",
    ):
        assert part in out
    finetune = out.split("finetune ")[1].split()[0]
    _, out, _ = run("show", finetune, "--store", tmp_path)
    assert stage.name in out and "120" not in out.split("time")[0]


def test_an_unknown_key_is_an_error(run, tmp_path):
    add_attack(tmp_path, "digits", 5, 3, 10)
    code, _, err = run("show", "zzz", "--store", tmp_path)
    assert code == 2 and "no stage with key 'zzz'" in err


@pytest.mark.parametrize("name", ["quickstart", "2", "table3"])
def test_table_prints_and_writes_three_formats_twice_the_same(run, tmp_path, name):
    study(quickstart(tmp_path / "runs", seeds=(0, 1)), datasets=("pets",), n=20)
    contents = []
    for directory in ("one", "two"):
        code, out, err = run("table", name, "--store", tmp_path / "runs", "--out", tmp_path / directory)
        assert code == 0 and "wrote table-" in err
        contents.append({path.name: path.read_bytes() for path in (tmp_path / directory).iterdir()})
    assert contents[0] == contents[1]
    stem = f"table-{name.removeprefix('table')}"
    assert set(contents[0]) == {f"{stem}.md", f"{stem}.csv", f"{stem}.tex"}
    assert contents[0][f"{stem}.md"].decode() == out


def test_findings_are_printed_and_written_with_their_origin(run, tmp_path):
    store = natural(tmp_path, seeds=(0,), datasets=("digits",), n=20)
    code, out, _ = run("findings", "--store", store)
    assert code == 0 and (store / "report" / "findings.md").read_text() == out
    assert "With AT fine-tuning, this SimCLR pre-trained network instead of none" in " ".join(out.split())
    assert f"AutoPGD: L2 eps {EPS}" in out and "rt-train experiment=natural" in out
    assert "commit: 0123456789ab" in out
    header = (store / "report" / "findings.csv").read_text().splitlines()[0]
    assert header.startswith(
        "finding,value,low,high,like_low,like_high,unit,method,p,p_holm,verdict,answers,"
    )
    assert header.endswith(",notices,stages,commit,made_with")


def test_findings_of_an_empty_store_say_what_to_run(run, tmp_path):
    code, out, _ = run("findings", "--store", tmp_path)
    assert code == 0 and "No two models that can be compared yet." in out
    assert "168 of 168" not in out and "rt-train experiment=natural" in out


def test_files_go_under_the_store_by_default(run, tmp_path):
    run("claims", "--source", "published", "--store", tmp_path)
    lines = (tmp_path / "report" / "claims.csv").read_text().splitlines()
    assert lines[0].startswith("claim,published,value,low,high,verdict,detail") and len(lines) == 27


@pytest.mark.slow
def test_figures_are_written(run, tmp_path):
    store = quickstart(tmp_path, seeds=(0,))
    _, out, _ = run("runs", "--store", store)
    keys = [line.split()[0] for line in out.splitlines() if "  certify  " in line]
    assert run("figure", "quickstart", "--store", store)[0] == 0
    assert run("figure", "curve", *keys, "--store", store)[0] == 0
    assert run("figure", "2", "--source", "published", "--store", store)[0] == 0
    names = {path.name for path in (store / "report").iterdir()}
    stems = ("figure-quickstart", "curve-" + "-".join(keys), "figure-2-published")
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "pdf", "csv", "md")}


def test_compare_two_keys(run, tmp_path):
    add_attack(tmp_path, "digits", 50, 30)
    add_attack(tmp_path, "digits", 70, 45, pretrain="at")
    _, out, _ = run("runs", "--store", tmp_path)
    keys = [line.split()[0] for line in out.splitlines() if "  autopgd  " in line]
    code, out, _ = run("compare", *keys, "--store", tmp_path)
    assert code == 0 and "difference [95 %]" in out and "correct of 100: both 50" in out


def test_html_is_one_page(run, tmp_path):
    quickstart(tmp_path, seeds=(0,))
    assert run("html", "--store", tmp_path)[0] == 0
    assert (tmp_path / "report" / "index.html").read_text().startswith("<!doctype html>")


def test_zoo_lists_every_name_with_its_published_accuracy(run):
    code, out, _ = run("zoo")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0 and "73.16 %" in rows["madrylab:resnet50_l2_eps0.5"]
    assert "wideresnet28_10" in rows["robustbench:Carmon2019Unlabeled"]
    assert " - " in rows["robustbench:L2/Sehwag2021Proxy_R18"]
    code, out, _ = run("zoo", "--json")
    entries = json.loads(out)
    assert len(entries) == len(rows) - 1 and {entry["name"] for entry in entries} < set(rows)


def test_export_of_an_evaluation_is_its_model_with_a_card(run, tmp_path):
    from robust_transfer.models import build_model, load_model, save_model

    stage = add_attack(tmp_path / "runs", "digits", 50, 30, n=60)
    key = stage.name.rsplit("-", 1)[1]
    model = build_model(
        "resnet18_small",
        num_classes=3,
        class_names=["a", "b", "c"],
        width=4,
        image_size=8,
        normalize=[[0.5] * 3, [0.5] * 3],
        seed=0,
    )
    [trained] = (tmp_path / "runs" / "finetune").iterdir()
    save_model(trained / "model.safetensors", model, key=trained.name.rsplit("-", 1)[1])
    target = tmp_path / "out" / "model.safetensors"
    code, out, _ = run("export", key, "--to", target, "--store", tmp_path / "runs")
    assert code == 0 and str(target) in out
    assert load_model(target).class_names == ["a", "b", "c"]
    [card] = [path for path in target.parent.iterdir() if path.suffix == ".md"]
    text = card.read_text()
    assert (
        key in text
        and "0.8333" in text
        and "AutoPGD: L2 eps 0.5, 100 steps" in text
        and "0123456789ab" in text
    )
