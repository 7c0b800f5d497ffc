"""The report of a foreign checkpoint's import, to be logged and stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class ImportReport:
    """The report of one import.

    Parameters
    ----------
    format : name of the format; `declared` tells whether it was given or detected by its keys
    container, reader : the file's form and which reader took it (see `safe_load.LoadedFile`)
    mean, std, normalization_source : the normalisation and where it came from
    matched : backbone tensors taken from the file, under torchvision's names
    missing : backbone tensors that the file does not have; only `num_batches_tracked`, else it is refused
    unexpected : the file's other keys, not taken
    renamed : name in the file -> torchvision's, prefixes aside
    stripped : prefixes of the backbone's names
    ema_used : the averaged weights of the file were taken
    head : kept, dropped or absent; `head_classes` is its size
    others : the file's other state_dicts, not taken
    channels : "rgb", or "bgr" where the first convolution was flipped
    precision : in which the file keeps the weights where it is not float32, to which they are converted
    inert : globals named in the file that were not loaded
    warnings : what the user should know before trusting the result
    """

    path: str
    format: str
    declared: bool
    arch: str
    container: str
    reader: str
    mean: list[float]
    std: list[float]
    normalization_source: str
    matched: list[str]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    stripped: list[str] = field(default_factory=list)
    ema_used: bool = False
    head: Literal["kept", "dropped", "absent"] = "absent"
    head_classes: int | None = None
    inert: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    channels: str = "rgb"
    precision: str | None = None
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report as text, one fact per line, the important ones first."""
        total = len(self.matched) + len(self.missing)
        how = "declared" if self.declared else "found by its keys"
        size = f" ({self.head_classes} classes)" if self.head_classes else ""
        lines = [
            f"{self.path}: format {self.format} ({how}), {self.arch}, read by {self.reader}",
            f"  normalisation: mean {_short(self.mean)} std {_short(self.std)} ({self.normalization_source})",
            f"  backbone: {len(self.matched)} of {total} tensors matched; head{size}: {self.head}",
        ]
        if self.ema_used:
            lines.append("  weights: the averaged (EMA) ones of the file")
        if self.stripped:
            lines.append(f"  stripped prefixes: {', '.join(self.stripped)}")
        if self.renamed:
            first, *_ = self.renamed.items()
            lines.append(f"  renamed: {len(self.renamed)} tensors, such as {first[0]} -> {first[1]}")
        if self.missing:
            lines.append(
                f"  missing: {len(self.missing)} num_batches_tracked (set to 0; no part in the output)"
            )
        if self.unexpected:
            lines.append(f"  not taken: {_groups(self.unexpected)}")
        if self.channels == "bgr":
            lines.append("  channels: BGR in the file; the first convolution is flipped to take RGB")
        if self.precision:
            lines.append(f"  precision: {self.precision} in the file, converted to float32")
        if self.others:
            lines.append(f"  also in the file, not taken: {', '.join(self.others)} (pretrain.part=NAME)")
        if self.inert:
            lines.append(f"  not loaded: {', '.join(self.inert[:4])}{', ...' if len(self.inert) > 4 else ''}")
        return lines + [f"  warning: {warning}" for warning in self.warnings]


def _short(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"


def _groups(keys: list[str]) -> str:
    """Count keys by their first two parts."""
    counts = Counter(".".join(key.split(".")[:2]) for key in keys)
    named = [f"{group}* ({count})" for group, count in counts.most_common(4)]
    return f"{len(keys)} tensors: " + ", ".join(named) + (", ..." if len(counts) > 4 else "")
