"""Functions and classes named by text, "package.module:name", so that a plan knows them without importing."""

from __future__ import annotations

import dis
import importlib
import importlib.util
from typing import Any


def load(name: str) -> Any:
    """Import the module and return what `name` stands for."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def problem(name: str) -> str | None:
    """Say why `name` cannot be loaded, or return None; the module itself is not run, its packages are."""
    module, _, attribute = name.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        return f"{name}: {error}"
    if spec is None or spec.loader is None:
        return f"{name}: no module named '{module}'"
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(module) if get_code else None
    if code is None:  # compiled: only an import tells
        return None
    stored = {line.argval for line in dis.get_instructions(code) if line.opname == "STORE_NAME"}
    return None if attribute in stored else f"{name}: no '{attribute}' in module '{module}'"
