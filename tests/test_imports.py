"""What each room of the package may import, shown to be refused where it is forbidden."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import contracts
import robust_transfer

ROOT = Path(robust_transfer.__file__).parent


def test_the_rooms_keep_their_contracts():
    assert not contracts.violations(ROOT)


def test_no_module_is_loose():
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["__init__.py", "__main__.py"]


def tree(root, files):
    """Write a package in small: its rooms, and the given files."""
    for room in contracts.FLOOR:
        (root / room).mkdir()
        (root / room / "__init__.py").write_text("")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


FORBIDDEN = {
    "a higher floor": ("attacks/pgd.py", "from robust_transfer.pipeline.plan import plan_training"),
    "a higher floor, inside a function": ("core/rng.py", "def f():\n    import robust_transfer.config.run"),
    "a higher floor, relatively": ("store/locks.py", "from ..data import dataset"),
    "attacks know core and models": ("attacks/pgd.py", "from robust_transfer.config import model"),
    "smoothing too": ("smoothing/noise.py", "from robust_transfer.distributed.context import Context"),
    "nor one another's data": ("smoothing/certify.py", "from robust_transfer.data import open_dataset"),
    "data know no store": ("data/fetch.py", "from robust_transfer.store import directories"),
    "models know no store": ("models/zoo.py", "from robust_transfer.store.records import Summary"),
    "models know no pipeline": ("models/zoo.py", "import robust_transfer.pipeline.plan"),
    "report knows no evaluation": ("report/index/a.py", "from robust_transfer.evaluation import recompute"),
    "report knows no training": ("report/study/a.py", "from robust_transfer.training import loop"),
    "evaluation gives report nothing by import": ("evaluation/a.py", "from robust_transfer.report import b"),
    "nor does training": ("training/a.py", "from robust_transfer.report.index import b"),
    "only cli knows Hydra": ("pipeline/run.py", "def f():\n    from hydra import compose"),
    "and OmegaConf": ("config/schema.py", "import omegaconf"),
    "only distributed the process group": ("training/step.py", "import torch.distributed as td"),
    "also from torch": ("evaluation/job.py", "from torch import distributed"),
    "only core/rng.py seeds": ("training/loop.py", "import torch\ntorch.manual_seed(0)"),
    "NumPy too": ("report/study/a.py", "from numpy.random import default_rng\ndefault_rng(0)"),
    "a room of another name": ("utils/misc.py", ""),
    "print in the library": ("data/fetch.py", "def f():\n    print(1)"),
}


@pytest.mark.parametrize(("name", "text"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_forbidden_import_is_seen(name, text, tmp_path):
    assert not contracts.violations(tree(tmp_path, {name: ""})) or name.startswith("utils")
    (tmp_path / name).write_text(text)
    breaches = contracts.violations(tmp_path)
    assert breaches and all(breach.startswith(f"{name} -> ") for breach in breaches)


@pytest.mark.parametrize("floor", [rooms for rooms in contracts.FLOORS if len(rooms) > 1])
def test_two_rooms_of_one_floor_may_not_import_each_other(floor, tmp_path):
    first, second = sorted(floor)
    one = {f"{first}/a.py": f"import robust_transfer.{second}.b"}
    other = {f"{second}/c.py": f"import robust_transfer.{first}.d"}
    breaches = contracts.violations(tree(tmp_path, one | other))
    assert f"{first} <-> {second} on one floor" in breaches


def test_a_circle_of_files_is_seen(tmp_path):
    files = {
        "report/index/runs.py": "from robust_transfer.report.study import tables",
        "report/study/tables.py": "from robust_transfer.report.output.text import table",
        "report/output/text.py": "def f():\n    from robust_transfer.report.index.runs import Run",
    }
    breaches = contracts.violations(tree(tmp_path, files))
    assert "report/index/runs.py <-> report/study/tables.py in a circle" in breaches and len(breaches) == 3


def test_what_is_allowed_is_no_breach(tmp_path):
    files = {
        "cli/train.py": "import hydra\nfrom robust_transfer.pipeline import plan\nprint(1)",
        "attacks/pgd.py": "from robust_transfer.core import rng\nimport robust_transfer.models.modes",
        "data/dataset.py": "from robust_transfer.models.metadata import read_metadata\nimport numpy",
        "distributed/context.py": "import torch.distributed",
        "core/rng.py": "import torch\ntorch.manual_seed(0)",
        "evaluation/job.py": "from robust_transfer.training.layout import layout\nx.print('a')",
    }
    assert not contracts.violations(tree(tmp_path, files))


def test_the_page_of_the_architecture_names_every_room_and_files_that_are_there():
    page = (ROOT.parents[1] / "docs" / "architecture.md").read_text()
    rooms = re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)
    assert rooms == [room for floor in contracts.FLOORS for room in floor]
    files = re.findall(r"`([\w/]+\.(?:py|toml))`", page)
    missing = [name for name in files if not (ROOT / name).is_file() and name != "tests/test_imports.py"]
    assert len(files) > 30 and not missing


def test_no_file_names_a_device():
    for path in ROOT.rglob("*.py"):
        assert ".cuda()" not in path.read_text(), path


def test_every_declared_dependency_is_imported():
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~ \[;]", line)[0].lower() for line in project["dependencies"]}
    modules = {name.split(".")[0] for source in contracts.sources(ROOT) for name in source.imports}
    homes = packages_distributions()
    imported = {home.lower().replace("_", "-") for name in modules for home in homes.get(name, ())}
    assert not declared - imported


@pytest.mark.parametrize(
    "module",
    [
        "robust_transfer.cli.train",
        "robust_transfer.cli.evaluate",
        "robust_transfer.cli.data",
        "robust_transfer.cli.report",
        "robust_transfer.cli.compose",
        "robust_transfer.cli.launching",
        "robust_transfer.cli.plans",
        "robust_transfer.pipeline.inputs",
        "robust_transfer.pipeline.run",
    ],
)
def test_planning_imports_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_no_hydra():
    """It is half of what a command without torch imports; `--help` is asked often and must come at once."""
    asks = "train.main(['--help']); evaluate.main(['--help'])"
    code = f"import sys; from robust_transfer.cli import evaluate, train; {asks}"
    code += "; sys.exit('hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
