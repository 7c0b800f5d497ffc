"""Write the pages of the site that are made from the code and from results/.

    python scripts/make_reference.py

`make docs` runs it before it builds the site; git ignores what it writes.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from itertools import groupby
from pathlib import Path

from robust_transfer.cli import data, evaluate, report, train
from robust_transfer.cli.shipped import conf_directory
from robust_transfer.config.explain import Value, all_values

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTEBOOKS = ROOT / "docs" / "notebooks"
RESULTS, GALLERY = ROOT / "results", ROOT / "docs" / "gallery.md"
GALLERY_TEXT = (
    "Made by `rt-report` from runs of this software, whose records lie beside each table; unpacked, "
    "`stages.tar.xz` is a store that makes the same tables and figures again.\n"
)
HEAD = "| value | meaning | may be | default | in the key |\n| --- | --- | --- | --- | --- |"
COMMANDS: dict[str, Callable[[Sequence[str] | None], int]] = {
    "rt-train": train.main,
    "rt-eval": evaluate.main,
    "rt-data": data.main,
    "rt-report": report.main,
}


def configuration() -> str:
    """Return the page of every value: meaning, what it may be, default and origin."""
    lines = [
        "# Configuration\n",
        "Every value of `rt-train` and `rt-eval`, as `rt-train --explain NAME` tells it. A default stands",
        "with where it comes from; a value in the key names another stage when it changes.\n",
    ]
    for group, values in groupby(all_values(conf_directory()), key=_group):
        lines += [f"## {group}\n", HEAD]
        lines += [_row(value) for value in values]
        lines.append("")
    return "\n".join(lines)


def _group(value: Value) -> str:
    return value.path.partition(".")[0]


def _row(value: Value) -> str:
    under = f" ({', '.join(value.of)})" if value.of else ""
    limits = ", ".join(f"`{choice}`" for choice in value.choices) if value.choices else value.type
    default = f"`{value.default}`" + (f": {value.origin}" if value.origin else "") if value.default else ""
    cells = [f"`{value.path}`{under}", value.meaning, limits, default, "yes" if value.in_key else "no"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def commands() -> str:
    """Return the page of the four commands: what `--help` prints of each."""
    lines = ["# Commands\n"]
    for name, main in COMMANDS.items():
        lines += [f"## {name}\n", "```text", _help(main).rstrip(), "```\n"]
    return "\n".join(lines)


def _help(main: Callable[[Sequence[str] | None], int]) -> str:
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        main(["--help"])
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def write_gallery() -> None:
    """Write the page of every figure and table in results/, with the pictures beside it."""
    lines = ["# Results\n", GALLERY_TEXT]
    folders = sorted(RESULTS.iterdir(), reverse=True)  # the quickstart first
    for path in (path for folder in folders for path in sorted(folder.glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        pictures = GALLERY.with_suffix("") / path.parent.name
        for name in re.findall(r"\]\(([\w-]+\.png)\)", text):
            pictures.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.with_name(name), pictures)
            text = text.replace(f"]({name})", f"]({pictures.relative_to(GALLERY.parent)}/{name})")
        # The origin is a list of keys: it stays in the file.
        body = re.split(r"^commit:? ", text, maxsplit=1, flags=re.MULTILINE)[0].strip()
        title = "" if body.startswith("## ") else f"## {path.stem.replace('-', ' ').capitalize()}\n\n"
        lines += [f"{title}{body}\n", f"Commit, versions and stages: `{path.relative_to(ROOT)}`.\n"]
    GALLERY.write_text("\n".join(lines), encoding="utf-8")


def write_notebooks() -> None:
    """Write each notebook as a page beside it, with the outputs that it holds, and links to pages."""
    from nbconvert import MarkdownExporter  # of the extra `docs`
    from nbconvert.writers import FilesWriter

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        body, resources = MarkdownExporter().from_filename(
            str(path), resources={"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
        )
        body = body.replace(".ipynb)", ".md)")
        FilesWriter(build_directory=str(NOTEBOOKS)).write(body, resources, notebook_name=path.stem)


PAGES = {"configuration.md": configuration, "commands.md": commands}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"wrote {(FOLDER / name).relative_to(ROOT)}", file=sys.stderr)
    write_notebooks()
    write_gallery()
