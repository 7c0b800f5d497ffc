"""Bad input to the four commands: a line and at most two below it, exit 2, nothing written, no traceback."""

import contextlib
import io
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands import COMMANDS, check_message
from robust_transfer.cli import train
from robust_transfer.pipeline import run
from tiny_runs import tiny

T = "rt-train pretrain=none finetune=st dataset=digits model=resnet18_small store={new}"
CR = "rt-train pretrain=none finetune=cr dataset=digits model=resnet18_small store={new}"
P = "rt-train finetune=st source=mnist5k dataset=digits model=resnet18_small store={new}"
E = "rt-eval certify dataset=digits store={store}"
R = "--store {store}"

# command line, a piece of the first line, a piece of the lines below it ("": none is expected)
TABLE = [
    # groups
    ("rt-train store={new}", "pretrain, finetune, dataset are not chosen", "pretrain=NAME finetune=NAME"),
    ("rt-train until=pretrain store={new}", "pretrain is not chosen", "pretrain=NAME, one of"),
    ("rt-train pretrain=none dataset=pets store={new}", "finetune is not chosen", "finetune=NAME"),
    # What is misspelt comes before what is missing.
    ("rt-train lr=0.1 store={new}", "lr is not a field", "finetune.lr=, pretrain.lr="),
    ("rt-train pretrain=none sigma=0.1 store={new}", "sigma is not a field", "finetune.sigma="),
    ("rt-train finetun=cr store={new}", "finetun is not a field", "did you mean 'finetune'?"),
    ("rt-train finetune.learning_rate=1 store={new}", "is not a field of any finetune", "'lr'"),
    ("rt-train dataset=pets pretrain.sigm=1 store={new}", "not a field of any pretrain", "'sigma'"),
    ("rt-train pretrain=none finetune=at dataset.shots=5", "dataset is not chosen", "rt-data status"),
    ("rt-train runtime.devces=2 store={new}", "runtime.devces is not a field", "'devices'"),
    ("rt-train until=pretrane store={new}", "until='pretrane' is unknown", "'pretrain'"),
    ("rt-eval certify sigma=0.5", "sigma is not a field", "certify.sigma="),
    ("rt-train pretrain=none finetune=st store={new}", "dataset is not chosen", "rt-data status"),
    (P + " pretrain=simclrr", "pretrain=simclrr is unknown", "did you mean 'simclr'?"),
    (T + " finetune=simclr", "finetune=simclr is unknown", "choose from: at, at_awp"),
    (T + " dataset=pet", "dataset=pet is unknown", "did you mean 'pets'?"),
    (T + " source=mnist", "source=mnist is unknown", "did you mean 'mnist5k'?"),
    (T + " model=resnet51", "model=resnet51 is unknown", "did you mean 'resnet"),
    (T + " budget=smok", "budget=smok is unknown", "did you mean 'smoke'?"),
    (T + " experiment=quikstart", "experiment=quikstart is unknown", "did you mean 'quickstart'?"),
    (T + " cell=quickstart/at", "cell=quickstart/at is unknown", "quickstart/at_at"),
    (T + " dataset=[digits,pets]", "takes one name", ""),
    (T + " model=null", "model=null chooses nothing", "choose from"),
    (T + " dataset.name=digit", "data set 'digit' is not known", "did you mean 'digits'?"),
    (P + " pretrain=cr pretrain.name=at", "pretrain.", ""),
    (P + " pretrain=cr pretrain.name=[at]", "pretrain.name", "choose from"),
    # keys
    (T + " sed=1", "sed is not a field", "did you mean 'seed'?"),
    (T + " +sed=1", "sed is not a field", "did you mean 'seed'?"),
    (T + " ++finetune.momentun=1", "finetune.momentun is not a field", "did you mean 'momentum'?"),
    (CR + " finetune.sigm=0.5", "finetune.sigm is not a field", "did you mean 'sigma'?"),
    (CR + " finetune.attack.eps=1", "finetune.attack is not used by finetune=cr", "finetune=at"),
    (CR + " finetune.patience=31", "finetune.patience is not a field", "'finetune.schedule.patience'"),
    (
        CR + " finetune.schedule.patience=31",
        "not used by finetune.schedule=step",
        "finetune.schedule=plateau",
    ),
    (CR + " finetune.schedule=steps", "finetune.schedule=steps is unknown", "did you mean 'step'?"),
    (T + " pretrain.schedule=cosine", "pretrain.schedule is given, but", "leave it out"),
    (T + " certify.tolerance=0.1", "not used by certify.mode=exact", "certify.mode=adaptive"),
    (T + " certify.sigma.x=1", "certify.sigma", ""),
    (T + " ~seed", "deletes a value", "seed=VALUE"),
    (T + " ~dataset", "dataset", ""),
    (T + " seed", "'seed' is not an override (expected key=value)", "rt-train --help"),
    (T + " seed='1", "is not an override (expected key=value)", "quote values"),
    (T + " =1", "=1", ""),
    (T + " hydra.job.nam=x", "nam", ""),
    (T + " hydra/launcher=slurm2 -m", "slurm2", ""),
    (T + " lr=0.1", "lr is not a field", "finetune.lr="),
    (CR + " sigma=0.25", "sigma is not a field", "finetune.sigma="),
    (T + " epochs=5", "epochs is not a field", "finetune.epochs="),
    (T + " learning_rate=1", "learning_rate is not a field", "finetune.lr="),
    (T + " finetune.learning_rate=1", "finetune.learning_rate is not a field", "did you mean 'lr'?"),
    (T + " finetune=at finetune.eps=8/255", "finetune.eps is not a field", "'finetune.attack.eps'"),
    (T + " gpus=2", "gpus is not a field", "runtime.devices="),
    (T + " finetune.patiense=3", "finetune.patiense is not a field", "'finetune.schedule.patience'"),
    (T + " hydra/launcher=slurmm -m", "hydra/launcher=slurmm is unknown", "did you mean 'slurm'?"),
    (T + " hydra.launcher.partition=gpu -m", "no launcher that has it", "add hydra/launcher=slurm"),
    (T + " experiment=table9", "experiment=table9 is unknown", "'table2', 'table3', 'table4' or 'table5'"),
    ("rt-train experiment=table 3", "'3' is not an override", "experiment=table3"),
    ("rt-train pretrain = simclr", "has a blank at its =", "pretrain=simclr"),
    ("rt-train pretrain= simclr", "has a blank at its =", "pretrain=simclr"),
    ("rt-train pretrain =simclr", "has a blank at its =", "pretrain=simclr"),
    # flags
    ("rt-train --pretrain simclr", "--pretrain is not a flag", "no dashes: pretrain=simclr"),
    ("rt-train --lr=0.1", "--lr is not a flag", "no dashes: finetune.lr=0.1"),
    ("rt-train --learning-rate 0.1", "--learning-rate is not a flag", "finetune.lr=0.1"),
    ("rt-train --certify.n 1000", "--certify.n is not a flag", "certify.n=1000"),
    ("rt-train --dry-run", "--dry-run is not a flag", "did you mean --plan?"),
    ("rt-train --paln", "--paln is not a flag", "did you mean '--plan'?"),
    ("rt-eval certify --gpus 2", "--gpus is not a flag", "runtime.devices=N"),
    ("rt-data ls", "'ls' is not a command", "did you mean 'status'?"),
    ("rt-data stat", "'stat' is not a command", "did you mean 'status'?"),
    ("rt-data check pets --root {new}", "the trainval list is missing", "layout under|rt-data fetch pets"),
    ("rt-report runs store={new}", "does not exist", "--store DIR"),
    ("rt-report -sc install=csh", "install=csh is no completion", "-sc install=bash"),
    (T + " runtime.loggers=tensorboard", "a list of a text", "runtime.loggers=[tensorboard]"),
    (T + " dataset=imagefolder dataset.root=/nowhere", "/nowhere/train", "layout under /nowhere"),
    # values
    (CR + " finetune.sigma=0", "finetune.sigma=0.0 (expected more than 0)", ""),
    (CR + " finetune.sigma=abc", "finetune.sigma='abc' (expected a number)", ""),
    (CR + " finetune.sigma=null", "finetune.sigma=None (expected a number)", ""),
    (T + " finetune.lr=-1", "finetune.lr=-1.0 (expected more than 0)", ""),
    (T + " finetune.lr=nan", "finetune.lr=nan", ""),
    (T + " finetune.lr=inf", "finetune.lr=inf", ""),
    (T + " finetune.batch_size=1", "finetune.batch_size=1 (expected at least 2)", ""),
    (T + " finetune.batch_size=3.5", "finetune.batch_size=3.5 (expected a whole number)", ""),
    (T + " finetune.batch_size=true", "finetune.batch_size=True (expected a whole number)", ""),
    (T + " finetune.optimizer=adam", "finetune.optimizer='adam' is unknown", "did you mean 'adamw'"),
    (T + " finetune.precision=fp16", "finetune.precision='fp16' is unknown", "did you mean|choose from"),
    (T + " finetune.epochs=null", "both null (expected an end)", ""),
    (T + " finetune.micro_batch=7", "finetune.micro_batch=7 does not divide batch_size=64", ""),
    (T + " finetune.momentum=1", "finetune.momentum=1.0 (expected at least 0 and less than 1)", ""),
    (T + " seed=-1", "seed=-1 (expected at least 0)", ""),
    (T + " seed=one", "seed='one' (expected a whole number)", ""),
    (T + " seed=" + "9" * 400, "seed=", ""),
    (T + " finetune.lr=" + "9" * 400, "finetune.lr=", ""),
    (T + " until=evaluate", "until='evaluate' is unknown", "choose from: finetune, pretrain"),
    (T + " on_failure=ignore", "on_failure='ignore' is unknown", "choose from"),
    (T + " label=[a]", "label=['a'] (expected a text or null)", ""),
    (T + " model.image_size=4", "model.image_size=4 (expected at least 8)", ""),
    (T + " model=resnet50 model.width=8", "model.width=8 (expected 64 for resnet50)", "resnet18_small"),
    (T + " model.normalize=imagnet", "model.normalize='imagnet'", ""),
    (T + " model.normalize=[[0,0,0],[1,0,1]]", "expected [[m, m, m], [s, s, s]] with s > 0", ""),
    (T + " model.normalize=[[0,0,nan],[1,1,1]]", "model.normalize=[[0.0, 0.0, nan]", ""),
    (T + " seed=${{nothing}}", "nothing", ""),
    (T + " seed=${{seed}}", "interpolation", ""),
    (T + " label=${{oc.env:RT_NO_SUCH_VARIABLE}}", "RT_NO_SUCH_VARIABLE", ""),
    # evaluators
    (T + " certify.alpha=2", "certify.alpha=2.0 (expected more than 0 and less than 0.5)", ""),
    (T + " certify.n=150", "certify.n=150", ""),
    (T + " certify.n=50", "certify.n=50 (expected at least 100)", ""),
    (T + " certify.sigma=-0.5", "certify.sigma=-0.5 (expected at least 0)", ""),
    (T + " certify.mode=exakt", "certify.mode=exakt is unknown", "did you mean 'exact'?"),
    (T + " certify.mode=decide certify.radii=[0.5,-1]", "certify.radii=-1.0 (expected more than 0)", ""),
    (T + " certify.mode=decide certify.radii=0.5", "certify.radii=0.5 (expected a list of a number)", ""),
    (T + " autopgd.loss=dlrr", "autopgd.loss='dlrr' is unknown", "did you mean 'dlr'?"),
    (T + " autopgd.eps=0", "autopgd.eps=0.0 (expected more than 0)", ""),
    (T + " pgd.norm=l1", "pgd.norm='l1' is unknown", "did you mean 'l2'?"),
    (T + " evaluators=[autopdg]", "evaluators='autopdg' is unknown", "did you mean 'autopgd'?"),
    (T + " evaluators=[]", "evaluators is empty", "choose from: auto"),
    (T + " evaluators=[auto]", "expected auto alone", "evaluators=auto"),
    (T + " evaluators=[certify]", "certify.sigma=0.5 but the model is trained at sigma=0", "allow_sigma"),
    (
        CR + " certify.sigma=0.25",
        "certify.sigma=0.25 but the model is trained at sigma=0.5",
        "certify.sigma=0.5",
    ),
    # data
    (T + " dataset.shots=0", "dataset.shots=0 (expected at least 1)", ""),
    (T + " dataset.shots=5 dataset.train_fraction=0.1", "are both given (expected one)", ""),
    (T + " dataset.shots=1000", "1000", ""),
    (T + " dataset.train_fraction=1.5", "dataset.train_fraction=1.5", ""),
    (T + " dataset.partition=2", "digits has one fixed split", ""),
    (T + " dataset=dtd dataset.partition=11", "dataset.partition=11", ""),
    (T + " dataset.evaluate_on=validation", "needs a held-out part", "dataset.validation_fraction=0.1"),
    (T + " dataset.evaluate_on=train", "dataset.evaluate_on='train'", "choose from"),
    (T + " dataset=imagefolder", "dataset.root is not given", "dataset.root=DIR"),
    (T + " dataset=imagefolder dataset.root={dir}/nowhere", "nowhere", ""),
    (T + " dataset=pets data.root={dir}", "oxford-iiit-pet", "rt-data status pets"),
    (T + " data.on_error=ignore", "data.on_error='ignore' is unknown", "choose from: skip, stop"),
    # methods
    (T + " finetune.schedule=plateau", "needs a held-out part", "dataset.validation_fraction=0.1"),
    (P + " pretrain=simclr pretrain.schedule=plateau", "needs labels", "pretrain.schedule=cosine"),
    (P + " pretrain=none until=pretrain", "leaves nothing to run", "pretrain="),
    (P + " pretrain=checkpoint", "pretrain needs one of path and weights", "pretrain.path=FILE"),
    (P + " pretrain=checkpoint pretrain.path={dir}/no.pt", "no.pt does not exist", ""),
    (P + " pretrain=checkpoint pretrain.path={dir}/text.pt", "text.pt", ""),
    (P + " pretrain=checkpoint pretrain.path={dir}", "", ""),
    (P + " pretrain=checkpoint pretrain.weights=torchvision:NONE", "torchvision publishes no weights", ""),
    # machine
    (T + " runtime.devices=0", "runtime.devices=0 (expected at least 1)", ""),
    (T + " runtime.devices=many", "runtime.devices='many' is unknown", "auto"),
    (T + " runtime.devices=3 runtime.device=cpu", "64 images is not divisible by 3 devices", "1, 2"),
    (T + " runtime.device=gpu", "runtime.device='gpu' is unknown", "did you mean 'cuda'?"),
    (T + " runtime.device=cuda", "runtime.device=cuda, but torch sees no CUDA device", "runtime.device=cpu"),
    (T + " runtime.sync_batchnorm=false", "needs a number of devices", "runtime.devices=N"),
    (T + " runtime.loggers=[wandbb]", "runtime.loggers='wandbb' is unknown", "did you mean 'wandb'?"),
    (T + " store={dir}/text.pt", "text.pt cannot be written", "store=DIR"),
    (T + " store=", "store is empty", "store=DIR"),
    # flags and sweeps
    (T + " --plann", "--plann is not a flag", "did you mean '--plan'?"),
    (T + " -x", "-x is not a flag", ""),
    (T + " --config-dir {dir}/nowhere", "nowhere is not a directory", ""),
    (T + " --config-dir", "--config-dir", ""),
    (T + " --cfg job sed=1", "sed", ""),
    (T + " --cfg jobs", "--cfg", ""),
    (T + " --cfg", "--cfg", ""),
    (T + " seed=1,2", "seed=1,2 is a sweep", "add -m"),
    (T + " -m seed=1,-2", "seed=-2 (expected at least 0)", ""),
    (T + " -m dataset=digits,pet", "dataset=pet is unknown", "did you mean 'pets'?"),
    (T + " -m dataset=glob(*)", "", ""),
    (T + " -m seed=range(0", "is not an override", ""),
    (T + " -m seed=interval(0,3)", "seed=interval(0,3) is not a list of values", "seed=FIRST,SECOND"),
    # rt-eval
    ("rt-eval certfy checkpoint=x dataset=digits", "'certfy' is not an evaluator", "did you mean 'certify'?"),
    ("rt-eval checkpoint=x dataset=digits", "no evaluator is named", "rt-eval clean|"),
    ("rt-eval certify dataset=digits", "checkpoint is not given", "checkpoint=DIR, KEY or FILE"),
    ("rt-eval certify checkpoint={finetune}", "dataset is not chosen", "rt-data status"),
    (E + " checkpoint=0123456789ab", "no stage with key '0123456789ab'", ""),
    (E + " checkpoint=123456789012", "no stage with key '123456789012'", ""),
    (E + " checkpoint=12e456789012", "no stage with key '12e456789012'", ""),
    (E + " checkpoint={dir}/no.pt", "neither a stage directory, a key nor a file", "rt-report runs"),
    (E + " checkpoint={dir}", "is not a stage directory", ""),
    (E + " checkpoint={evaluation}", "is an evaluation (expected a training stage)", ""),
    (E + " checkpoint={dir}/text.pt", "text.pt", ""),
    (E + " checkpoint={dir}/short.safetensors", "short.safetensors", ""),
    (E + " checkpoint={unfinished}", "is not finished", "resumes"),
    (E + " checkpoint={torn}", "model.safetensors", ""),
    (E + " checkpoint={odd}", "is not a stage directory", ""),
    (
        E + " checkpoint={finetune} dataset=cifar100",
        "head has 10 classes (expected 100",
        "fine-tune it first",
    ),
    (E + " checkpoint={finetune} certify.sigma=0.25", "trained at sigma=0.5", "allow_sigma_mismatch"),
    ("rt-eval evaluators=[] checkpoint={finetune} dataset=digits", "evaluators is empty", "choose from"),
    (
        "rt-eval evaluators=[certfy] checkpoint={finetune} dataset=digits",
        "evaluators='certfy' is unknown",
        "certify",
    ),
    (E + " checkpoint={finetune} certify.nn=1", "certify.nn is not a field", "did you mean 'n"),
    (E + " checkpoint={finetune} dataset.evaluate_on=validation", "needs a held-out part", ""),
    (E + " checkpoint={finetune} more", "'more' is not an override", ""),
    # rt-report
    ("rt-report runz", "'runz' is not a command", "did you mean 'runs'?"),
    ("rt-report runs --store {dir}/nowhere", "nowhere does not exist", "rt-train"),
    ("rt-report show " + R, "required: KEY", "--help"),
    ("rt-report show 0123456789ab " + R, "no stage with key '0123456789ab'", ""),
    ("rt-report table 9 " + R, "table '9' is not known", "choose from|did you mean"),
    ("rt-report figure curve " + R, "figure curve takes one KEY or several", "rt-report figure curve KEY"),
    ("rt-report table quickstart --source published " + R, "no published numbers", ""),
    ("rt-report table quickstart --source run " + R, "run", ""),
    ("rt-report runs --sotre x", "--sotre", "did you mean '--store'?"),
    ("rt-report verify {key} " + R, "is not a finished evaluation", "rt-report runs"),
    ("rt-report compare {key} " + R, "compare takes no KEY or two", ""),
    ("rt-report export {key} " + R, "--to", ""),
    # rt-data
    ("rt-data statu", "statu", ""),
    ("rt-data", "status|check|fetch", ""),
    ("rt-data check", "D", ""),
    ("rt-data status pet", "data set 'pet' is not known", "did you mean 'pets'?"),
    ("rt-data status --rooot x", "--rooot", ""),
    ("rt-data check dtd --partition one", "--partition", ""),
    ("rt-data status dtd --partition 12 --root {dir}", "partition=12", ""),
]


def short(line):
    """Name a case by what is wrong in it."""
    for name, prefix in (("st", T), ("cr", CR), ("pre", P), ("eval", E)):
        line = line.replace(prefix, name)
    return line[:60]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Make one finished run, and broken things of every kind beside it."""
    folder = tmp_path_factory.mktemp("bad")
    store = folder / "runs"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert train.main(tiny("none", "cr", store)) == 0
    (finetune,), (evaluation,) = (list((store / kind).iterdir()) for kind in ("finetune", "eval"))
    (folder / "text.pt").write_text("no weights\n")
    whole = (finetune / "model.safetensors").read_bytes()
    (folder / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    broken = folder / "broken" / "finetune"
    for name in ("unfinished", "torn", "odd"):
        shutil.copytree(finetune, broken / f"st-{name}")
    (broken / "st-torn" / "model.safetensors").write_bytes(whole[:100])
    status = (finetune / "status.json").read_text()
    (broken / "st-unfinished" / "status.json").write_text(status.replace('"done"', '"running"'))
    (broken / "st-odd" / "status.json").write_text("[1]")
    return {
        "dir": folder,
        "store": store,
        "finetune": finetune,
        "evaluation": evaluation,
        "key": finetune.name[-12:],
        **{name: broken / f"st-{name}" for name in ("unfinished", "torn", "odd")},
    }


def listing(folder):
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def nothing_may_run(*_):
    raise AssertionError("a stage began")


@pytest.mark.slow
@pytest.mark.parametrize(("line", "what", "hint"), TABLE, ids=[short(row[0]) for row in TABLE])
def test_bad_input(line, what, hint, places, tmp_path, capsys, monkeypatch):
    if "device=cuda" in line and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run.Runner, "launch", nothing_may_run)
    program, *words = line.split(" ")
    words = [word.format(new=tmp_path / "new", **places) for word in words]
    before = listing(places["dir"])
    assert COMMANDS[program](words) == 2
    first, *below = check_message(program, capsys.readouterr().err)
    assert what in first
    assert any(choice in "\n".join(below) for choice in hint.split("|"))
    assert listing(places["dir"]) == before and listing(tmp_path) == {}


def test_there_are_many_kinds_of_bad_input():
    assert len(TABLE) == len({row[0] for row in TABLE}) >= 60
    assert {row[0].split(" ")[0] for row in TABLE} == set(COMMANDS)


KEYS = [
    "seed", "finetune", "finetune.lr", "finetune.sigma", "finetune.schedule", "dataset", "dataset.shots",
    "dataset.root", "certify.n", "certify.radii", "evaluators", "model.normalize", "runtime.devices", "until",
    "budget", "pretrain.path", "data", "hydra.mode", "x", "a.b.c", "certify", "model@x", "label",
]  # fmt: skip
PREFIXES = ["", "+", "++", "~"]
VALUES = [
    "",
    "null",
    "-1",
    "1e400",
    "[]",
    "{}",
    "[1,2]",
    "{a: 1}",
    "true",
    "''",
    "${x}",
    "${",
    "a b",
    "1,2",
    "\\",
    "é",
]
overrides = st.lists(
    st.builds(
        "{}{}={}".format,
        st.sampled_from(PREFIXES),
        st.sampled_from(KEYS),
        st.sampled_from(VALUES) | st.text(st.characters(exclude_categories=["C"]), max_size=6),
    ),
    min_size=1,
    max_size=2,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=overrides)
def test_any_override_is_planned_or_refused_in_one_form(words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = train.main(["pretrain=none", "finetune=cr", "dataset=digits", "--plan", *words])
    if code == 0:
        assert "finetune" in out.getvalue() and not err.getvalue()
    else:
        assert code == 2
        if "DATA MISSING" not in out.getvalue():
            check_message("rt-train", err.getvalue())
