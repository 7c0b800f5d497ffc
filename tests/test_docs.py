"""The documentation: every command line is planned or parsed, links lead somewhere, examples run."""

from __future__ import annotations

import doctest
import itertools
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from replicas import write_image
from robust_transfer.cli import data, evaluate, report, train
from robust_transfer.models import build_model, save_model
from robust_transfer.models.backbones import backbone
from robust_transfer.report.study import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}\S.*\n)+", re.MULTILINE)
INLINE = re.compile(r"(?<!after )`(rt-(?:train|eval|data|report) [^`]+)`")  # "after": the start of a command
UNFINISHED = re.compile(r"\.\.\.|\||\b[A-Z]\b")  # `rt-train pretrain=P ...` tells a form
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
EXAMPLE = "gentle"  # the method that CONTRIBUTING adds: tests/test_contributing.py runs its lines
PROGRAMS = ("rt-train", "rt-eval", "rt-data", "rt-report")
# hydra/launcher=NAME needs an extra that may not be installed.
LAUNCHER = ("hydra/launcher=", "hydra.launcher.")


@dataclass(frozen=True)
class Line:
    """A command line of the documentation."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def blocks(text: str) -> list[str]:
    """Return what is set as code: fenced blocks, blocks indented by four, and commands inside sentences."""
    fenced = [match[2] for match in FENCE.finditer(text)]
    rest = FENCE.sub("\n", text)
    inline = [command for command in INLINE.findall(rest) if not UNFINISHED.search(command)]
    return [*fenced, *INDENTED.findall(rest), *inline]


def command_lines(page: Path) -> list[Line]:
    found = []
    for block in blocks(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith(tuple(f"{name} " for name in PROGRAMS)) and EXAMPLE not in line:
                words = shlex.split(line.strip().removesuffix("&"), comments=True)
                found.append(Line(page.relative_to(ROOT).as_posix(), tuple(words)))
    return found


def without_repetitions(lines: list[Line]) -> list[Line]:
    """Keep the first of lines that ask the same; here all runs are planned only."""
    first: dict[tuple[str, ...], Line] = {}
    for line in lines:
        first.setdefault(tuple(word for word in line.words if word != "--plan"), line)
    return list(first.values())


LINES = without_repetitions([line for page in PAGES for line in command_lines(page)])


def lines_of(*programs: str) -> list[Line]:
    return [line for line in LINES if line.words[0] in programs]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for FILE and KEY, a resnet50 with the classes of pets.

    Beside it images/ stands for DIR, and data/ for the data root, with what natural_weights asks for.
    """
    names = [f"breed {number}" for number in range(37)]
    model = build_model(
        "resnet50", num_classes=37, class_names=names, image_size=224, width=64, normalize="imagenet", seed=0
    )
    path = tmp_path_factory.mktemp("docs") / "model.safetensors"
    save_model(path, model, key="0" * 64)
    (path.parent / "data").mkdir()
    torch.save(backbone("resnet18_small", 10, 64).state_dict(), path.parent / "data" / "model_test.pt")
    for split, name in itertools.product(("train", "test"), ("cat", "dog")):
        write_image(path.parent / "images", f"{split}/{name}/1.jpg")
    return path


def with_files(words: tuple[str, ...], checkpoint: Path) -> list[str]:
    """Put a file for FILE and KEY, a folder for DIR, one set for twelve; leave out absent launchers."""
    installed = find_spec("hydra_plugins.hydra_submitit_launcher") is not None
    kept = [word for word in words if installed or not word.startswith(LAUNCHER)]
    if any(re.match(r"experiment=(?!quickstart)", word) for word in words):
        # The sweeps over all sets are planned whole in tests/cli/test_presets.py.
        kept += [] if any(word.startswith("dataset=") for word in words) else ["dataset=cifar10"]
        kept += [] if any(word.startswith("seed=") for word in words) else ["seed=0"]
    folder = f"dataset.root={checkpoint.parent / 'images'}"
    kept = [folder if re.fullmatch(r"dataset\.root=\w+", word) else word for word in kept]
    return [re.sub(r"=(FILE|KEY)$", f"={checkpoint}", word) for word in kept]


def test_there_are_commands_of_every_program():
    assert {line.words[0] for line in LINES} == set(PROGRAMS)
    assert len(lines_of("rt-train")) > 20


@pytest.mark.slow
@pytest.mark.parametrize("line", lines_of("rt-train", "rt-eval"), ids=str)
def test_a_run_can_be_planned(line, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RT_DATA", raising=False)
    shutil.copytree(checkpoint.parent / "data", tmp_path / "data")
    program, *words = with_files(line.words, checkpoint)
    main = {"rt-train": train.main, "rt-eval": evaluate.main}[program]
    code = main(words if "--plan" in words else [*words, "--plan"])
    streams = capsys.readouterr()
    assert code == 0 or (code == 2 and "DATA MISSING" in streams.out), streams.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("line", lines_of("rt-data"), ids=str)
def test_a_data_command_is_understood(line):
    arguments = data._parser().parse_args(line.words[1:])
    assert all(data.catalogue.get(name) for name in arguments.datasets)


@pytest.mark.parametrize("line", lines_of("rt-report"), ids=str)
def test_a_report_command_is_understood(line):
    arguments = report._parser().parse_args(line.words[1:])
    if arguments.command == "table":
        assert registry.find(arguments.name)
    if arguments.command == "figure":
        assert arguments.name in {spec.name for spec in registry.tables().values() if spec.figure} | {
            "curve",
            "shots",
        }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            path = page.parent / target.partition("#")[0]
            made = target.startswith("gallery") or path.with_suffix(".ipynb").exists()  # by `make docs`
            assert made or path.exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_paths_exist(page):
    """Paths in backticks are there, but for the example's and those with a NAME to fill in."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for path in re.findall(r"`((?:src|conf|tests|docs|scripts|\.ci)/[\w./*-]*)`", text):
        if "NAME" not in path and EXAMPLE not in path:
            assert list(ROOT.glob(path.rstrip("/"))), path


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CITATION.cff"], ids=lambda page: page.name)
def test_pages_name_no_machine(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(work|home|root|tmp|Users|mnt)\b", text)
    assert str(ROOT) not in text


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([\w-]+)`", page.read_text("utf-8"))}
    assert named and named <= targets


def test_the_notebook_example_runs(capsys):
    examples = [
        body for kind, body in FENCE.findall((ROOT / "README.md").read_text("utf-8")) if kind == "python"
    ]
    assert len(examples) == 1
    exec(compile(examples[0], "README.md", "exec"), {})
    assert "tensor" in capsys.readouterr().out


def test_the_examples_of_the_python_reference_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    page = ROOT / "docs" / "reference" / "python.md"
    text = re.sub(r"^```.*\n", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    found = doctest.DocTestRunner().run(examples)
    assert found.failed == 0 and found.attempted > 20


def test_citation_is_valid_and_agrees_with_the_package():
    import tomllib

    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0" and citation["message"]
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["authors"] == project["authors"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
