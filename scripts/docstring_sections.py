"""An extension of the site's reader of docstrings: `name : what it is` describes, signatures have the types.

NumPy's style reads what follows the colon as a type. Here types stand in signatures alone, so the text behind
a name of Parameters, Attributes and Raises becomes its description, and Returns a sentence before them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe  # of the extra `docs`

SECTION = re.compile(r"^(Parameters|Attributes|Raises|Returns)\n-+\n((?:.+\n?)+)", re.MULTILINE)
DESCRIBED = re.compile(r"(\w[\w, ]*?) ?: (.+)", re.DOTALL)


def with_descriptions(text: str) -> str:
    """Return a docstring in which NumPy's reader finds names with descriptions, and no types."""
    sections = {found[1]: found[2] for found in SECTION.finditer(text)}
    returned = " ".join(sections.pop("Returns", "").split())
    lines = [SECTION.sub("", text).rstrip(), f"Returns {returned}." if returned else ""]
    for name, body in sections.items():
        items = "".join(map(_item, re.split(r"^(?=\S)", body, flags=re.MULTILINE)))
        lines += [f"{name}\n{'-' * len(name)}\n{items}"]
    return "\n\n".join(filter(None, lines))


def _item(text: str) -> str:
    """Put a description under each of the names that share it: they may differ in type and default."""
    found = DESCRIBED.match(text)
    return "".join(f"{name}\n    {found[2]}" for name in found[1].split(", ")) if found else text


class DocstringSections(griffe.Extension):
    """Rewrites every docstring before it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one."""
        if obj.docstring:
            obj.docstring.value = with_descriptions(obj.docstring.value)
