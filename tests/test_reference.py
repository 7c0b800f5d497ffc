"""The reference pages of the site tell every value and every command."""

import runpy
from pathlib import Path

from robust_transfer.cli.shipped import conf_directory
from robust_transfer.config.explain import all_values

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "make_reference.py"
PAGES = runpy.run_path(str(SCRIPT))["PAGES"]


def test_every_value_has_a_row():
    rows = PAGES["configuration.md"]().splitlines()
    for value in all_values(conf_directory()):
        assert any(row.startswith(f"| `{value.path}`") and value.meaning in row for row in rows), value.path


def test_every_command_tells_its_help():
    page = PAGES["commands.md"]()
    for name in ("rt-train", "rt-eval", "rt-data", "rt-report"):
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert section.count("```") == 2 and name in section.split("```text")[1]
