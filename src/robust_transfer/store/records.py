"""What stages say of themselves, as types: how a model came about, how a stage stands, what was measured.

Files of older versions are read with defaults for what they lack; fields of newer versions are kept in
`others`, so that whoever writes a file back loses nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Record = TypeVar("Record", bound="_Record")


@dataclass(frozen=True, kw_only=True)
class _Record:
    others: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls: type[Record], values: Any) -> Record:
        """Build the record from a file's values; null stands for the default."""
        if not isinstance(values, Mapping):
            return cls()
        names = {f.name for f in dataclasses.fields(cls)} - {"others"}
        given = {name: values[name] for name in names & values.keys() if values[name] is not None}
        if "lineage" in given:
            given["lineage"] = Lineage.read(given["lineage"])
        for name in {"marks", "flags"} & given.keys():
            given[name] = tuple(given[name])
        return cls(**given, others={name: values[name] for name in values.keys() - names})


@dataclass(frozen=True, kw_only=True)
class Lineage(_Record):
    """How a model came about; None: unknown, or it has none.

    pretrain, finetune : methods
    source, dataset : data that they saw
    pretrain_seed, seed, split_seed : of pre-training, of fine-tuning, of the labels drawn
    pretrain_key, finetune_key : 12 digits of the stages' keys
    defence : what stands before the model, with the sha256 of its file
    train_sigma : standard deviation of the noise that the model was trained under
    """

    pretrain: str | None = None
    pretrain_seed: int | None = None
    pretrain_key: str | None = None
    pretrain_expected_linear_probe: float | None = None
    source: str | None = None
    arch: str | None = None
    width: int | None = None
    image_size: int | None = None
    file_sha256: str | None = None
    defence: str | None = None
    finetune: str | None = None
    finetune_key: str | None = None
    seed: int | None = None
    dataset: str | None = None
    shots: int | None = None
    train_fraction: float | None = None
    split_seed: int | None = None
    train_sigma: float | None = None
    experiment: str | None = None

    def values(self) -> dict[str, Any]:
        """Return what is known, as files hold it."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "others"}
        return {**{name: value for name, value in own.items() if value is not None}, **self.others}


@dataclass(frozen=True, kw_only=True)
class Status(_Record):
    """How a stage stands, from status.json.

    format : of the stage; 1 where it does not say
    state : running, interrupted, done or failed; None before it was begun
    started, finished, heartbeat : seconds since 1970
    wall_seconds : of all runs of the stage together
    passes : forward-equivalents of the whole stage
    skipped_steps : steps that were not finite, where a training passes over them
    images : of each split: how many are on disk, how many the official list names
    fingerprint : hash of the data that were read
    files : sha256 of each file of a finished evaluation's result
    model_file : where a measured model lies that is no stage's: path, reading, denoiser
    """

    format: int = 1
    state: str | None = None
    key: str | None = None
    parent: str | None = None
    lineage: Lineage = field(default_factory=Lineage)
    marks: tuple[str, ...] = ()
    error: str | None = None
    host: str | None = None
    pid: int | None = None
    started: float | None = None
    finished: float | None = None
    heartbeat: float | None = None
    wall_seconds: float | None = None
    passes: int | None = None
    steps: int | None = None
    skipped_steps: int | None = None
    device: str | None = None
    world_size: int | None = None
    peak_memory_bytes: int | None = None
    images: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fingerprint: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    model_file: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Summary(_Record):
    """What an evaluation measured, from summary.json.

    settings : of the evaluator, whose spec reads them
    kernels : what computed in bf16 or tf32, where another kernel is another classifier; None in fp32
    metrics : fractions in [0, 1]; acr in [0, 1] pixel units; None where there is none
    intervals : 95 %, with `low`, `high` and `method`
    images : of each split: how many are on disk, how many the official list names
    """

    evaluator: str = ""
    dataset: str = ""
    split: str = "test"
    num_images: int = 0
    subset: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    lineage: Lineage = field(default_factory=Lineage)
    images: Mapping[str, Sequence[int]] = field(default_factory=dict)
    wall_seconds: float | None = None
    device: str | None = None
    noise_backend: str | None = None
    weights: str | None = None
    kernels: str | None = None
    key: str | None = None
    parent: str | None = None
    commit: str | None = None

    def values(self) -> dict[str, Any]:
        """Return the fields as files hold them."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "others"}
        lists = {"flags": list(self.flags), "marks": list(self.marks)}
        return {**own, **lists, "lineage": self.lineage.values(), **self.others}
