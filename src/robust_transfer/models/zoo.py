"""Published weights by name, from a catalogue. No torch."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Published:
    """Where published weights are, and their metadata; empty or None: unknown.

    hub, file : repository on the Hugging Face hub, and the file in it; without one, the file where the
        publisher's own library keeps it, relative to the working directory
    drive : id of that file on Google Drive
    trained : data, method and source
    threat : the threat model of the training
    dataset, accuracy : clean accuracy in percent as published, and the test set that it is of
    normalize : statistics of the images, where only the publisher's code has them
    """

    name: str
    file: str
    arch: str
    trained: str
    threat: str
    licence: str
    hub: str = ""
    drive: str = ""
    dataset: str = ""
    accuracy: float | None = None
    normalize: str | list[list[float]] | None = None
    sha256: str = ""


@cache
def catalogue() -> dict[str, Published]:
    """Return the entries by `provider:name`."""
    text = (resources.files("robust_transfer.models") / "zoo.toml").read_text(encoding="utf-8")
    entries = {}
    for provider, groups in tomllib.loads(text).items():
        for group in groups:
            weights, prefix, folder = group.pop("weights"), group.pop("prefix", ""), group.pop("folder", "")
            for short, own in weights.items():
                name, file = f"{provider}:{prefix}{short}", f"{folder}/{short}.pt"
                entries[name] = Published(name=name, **{"file": file, **group, **own})
    return entries


def own_normalize(weights: str | None) -> str | list[list[float]] | None:
    """Return the statistics that the catalogue has for named weights; None: they are in the file."""
    entry = catalogue().get(weights or "")
    return entry.normalize if entry else None
