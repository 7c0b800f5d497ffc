"""The pages of the site that are made tell every value, every command and what each parameter is."""

import runpy
from pathlib import Path

import pytest

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


def test_what_follows_a_parameters_colon_is_its_description_not_its_type():
    griffe = pytest.importorskip("griffe")
    rewrite = runpy.run_path(str(SCRIPT.with_name("docstring_sections.py")))["with_descriptions"]
    text = """Do it.

    Parameters
    ----------
    first, second : in units: of
        the images
    third : None takes first / 2

    Returns
    -------
    the result: a number

    Raises
    ------
    ValueError : a setting is out of range
    """
    found = griffe.Docstring(rewrite(griffe.Docstring(text).value)).parse("numpy", warnings=False)
    said, parameters, raised = found[0].value, found[1].value, found[2].value
    assert said.startswith("Do it.")
    described = {p.name: (p.annotation, " ".join(p.description.split())) for p in parameters}
    assert described == {
        "first": (None, "in units: of the images"),
        "second": (None, "in units: of the images"),
        "third": (None, "None takes first / 2"),
    }
    assert "the result: a number." in said + "".join(s.value for s in found if s.kind.value == "text")
    assert (raised[0].annotation, raised[0].description) == ("ValueError", "a setting is out of range")
