"""Every table compiles where LaTeX is installed (texlive-latex-base and texlive-latex-recommended)."""

import json
import shutil
import subprocess

import pytest

from robust_transfer.cli.report import main
from synthetic_store import natural, quickstart, study

pytestmark = [
    pytest.mark.drill_long,
    pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex"),
]
DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
%s
\end{document}
"""


def test_every_table_compiles_and_fits_the_line(tmp_path):
    stores = {
        "study": (study(tmp_path / "study", tables=("2", "3", "4", "5"), n=40), "2345"),
        "natural": (natural(tmp_path / "natural", seeds=(0, 1), n=40), [f"natural{i}" for i in "2345"]),
        "quick": (quickstart(tmp_path / "quick"), ["quickstart"]),
    }
    for path in stores["study"][0].glob("eval/*/summary.json"):
        summary = json.loads(path.read_text()) | {"flags": [r"50 % & $_# ~^ {x} \y"]}  # all that LaTeX reads
        path.write_text(json.dumps(summary))
    out = tmp_path / "out"
    for store, names in stores.values():
        for name in names:
            assert main(["table", name, "--store", str(store), "--out", str(out)]) == 0
    for name in "2345":
        assert main(["table", name, "--source", "published", "--store", str(out), "--out", str(out)]) == 0
    files = sorted(out.glob("*.tex"))
    assert len(files) == 13
    inputs = "\n".join(rf"\input{{{path.name}}}\clearpage" for path in files)
    (out / "all.tex").write_text(DOCUMENT % inputs)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (out / "all.pdf").stat().st_size > 10_000
    wide = [line for line in done.stdout.splitlines() if line.startswith("Overfull")]
    assert not wide, wide
