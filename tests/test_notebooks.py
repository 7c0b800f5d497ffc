"""The notebooks run from top to bottom, with a small budget in place of their parameters."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
SMALL = {
    "attack-and-certify": "num_epochs, num_images, n = 1, 8, 100",
    "robust-transfer": (
        "store = 'runs'\n"
        "more = 'seed=0 cell=quickstart/none_at,quickstart/at_at budget=short budget.max_steps=2 "
        "autopgd.subset=4 autopgd.num_steps=2'"
    ),
}


def test_every_notebook_has_a_small_budget():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    # The commands in its cells are those beside this Python, and warnings are the kernel's own affair.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source = SMALL[name]
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": tmp_path}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "Error" not in said and "Traceback" not in said
    assert {"attack-and-certify": "RA ", "robust-transfer": "0 differ"}[name] in said
