"""Inside report/ imports run one way: index -> analysis -> study -> output."""

import ast
from pathlib import Path

import pytest

from robust_transfer import report

ROOT = Path(report.__file__).parent
ORDER = ("index", "analysis", "study", "output")
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def forbidden(source: str, room: str) -> set[str]:
    """Return the rooms behind `room` in the order that a file of it imports from."""
    names = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    parts = {
        (name or "").removeprefix("robust_transfer.report.").split(".")[0]
        for name in names
        if (name or "").startswith("robust_transfer.report.")
    }
    return parts & set(ORDER[ORDER.index(room) + 1 :])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    assert not forbidden(path.read_text(), path.relative_to(ROOT).parts[0])


def test_every_file_stands_in_a_room():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ORDER)


@pytest.mark.parametrize("room", ORDER[:-1])
def test_a_forbidden_import_is_seen(room):
    later = ORDER[ORDER.index(room) + 1]
    assert forbidden(f"from robust_transfer.report.{later} import x", room) == {later}
    assert forbidden(f"def f():\n    import robust_transfer.report.{later}.x", room) == {later}
