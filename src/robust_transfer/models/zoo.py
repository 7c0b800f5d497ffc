"""Published weights by name, from a catalogue. No torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Published:
    """Where weights are and what is known of them; an empty sha256 is not known.

    hub, file : repository on the Hugging Face hub, and the file in it
    trained : data, method and source
    threat : what the training made it robust against
    """

    name: str
    hub: str
    file: str
    arch: str
    trained: str
    threat: str
    licence: str
    sha256: str = ""


@cache
def catalogue() -> dict[str, Published]:
    """Return the entries by `provider:name`."""
    text = (resources.files("robust_transfer.models") / "zoo.toml").read_text(encoding="utf-8")
    entries = {}
    for provider, group in tomllib.loads(text).items():
        weights = group.pop("weights")
        for short, own in weights.items():
            name = f"{provider}:{short}"
            entries[name] = Published(name=name, **{**group, **own})
    return entries
