"""Imports run downwards only, and each door has one keeper."""

import ast
from pathlib import Path

import pytest

import robust_transfer

ROOT = Path(robust_transfer.__file__).parent
LAYERS = [
    {"cli"},
    {"pipeline"},
    {"training", "evaluation", "report"},
    {"objectives"},
    {"data", "models", "attacks", "smoothing"},
    {"distributed", "store"},
    {"config"},
    {"core"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, from anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def parts_imported(path: Path) -> set[str]:
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("robust_transfer.")}
    return ours & LEVEL.keys()


def test_every_part_has_a_layer():
    assert {part(path) for path in FILES} <= LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    above = {name for name in parts_imported(path) if LEVEL[name] < LEVEL[part(path)]}
    assert not above


def test_imports_inside_a_layer_go_one_way():
    edges = {(part(path), other) for path in FILES for other in parts_imported(path)}
    both = {(a, b) for a, b in edges if a < b and LEVEL[a] == LEVEL[b] and (b, a) in edges}
    assert not both


@pytest.mark.parametrize(
    ("door", "keeper"),
    [
        ("hydra", "cli"),
        ("omegaconf", "cli"),
        ("torch.distributed", "distributed"),
    ],
)
def test_one_door(door, keeper):
    users = {part(path) for path in FILES for name in imported(path) if f"{name}.".startswith(f"{door}.")}
    assert users == {keeper}


def test_only_rng_seeds_and_nothing_names_a_device():
    for path in FILES:
        text = path.read_text()
        if path != ROOT / "core" / "rng.py":
            assert "manual_seed(" not in text, path
        assert ".cuda()" not in text, path


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
    import subprocess
    import sys

    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
