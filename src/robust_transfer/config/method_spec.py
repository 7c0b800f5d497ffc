"""What the package asks of a training method before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PARENT = "parent"  # as a reference: the model that the stage starts from
FORWARD, INPUT_GRADIENT, STEP = 1, 2, 3  # passes: forward; with the input's gradient; with the weights' too


@dataclass(frozen=True)
class MethodSpec:
    """A method's declarations; a function takes the method's config (its own class of TrainingConfig).

    Parameters
    ----------
    builder : "package.module:name" of the objective: called with the config, returns an `Objective`
    passes_per_image : forward-equivalents that an image takes in one optimiser step
    needs_labels : whether the network that is trained has a head for the data set's classes
    own_views : whether the method augments by itself, whatever the data set's `augment` says
    soft_labels : whether the loss is a cross-entropy that takes probabilities, (B, K), for labels
    accumulates : whether the loss of a batch is the mean over its micro-batches
    caches : whether it is a loss of the outputs of one call of the network, with all views one after another:
        micro-batches then pass twice, and the loss is that of the whole batch
    default_evaluators : (config, evaluators of its parent, () where unknown) -> those of `evaluators=auto`
    references : name -> a frozen model that the steps read: a finished stage (directory, key or its file),
        PARENT, or the values of a method that makes it of the same data before. Its key enters the stage's,
        so the field of that name is declared by_content
    check_references : (config, {name: lineage of the reference}, own lineage) -> None; raises ConfigError
        where a reference does not fit
    freezes : whether the method itself says which parameters stay as they are
    repeats : optimiser steps that are taken on one batch in turn, with the same noise and augmentation
    """

    builder: str
    passes_per_image: Callable[[Any], float]
    needs_labels: bool = True
    own_views: bool = False
    soft_labels: bool = False
    accumulates: bool = True
    caches: bool = False
    default_evaluators: Callable[[Any, tuple[str, ...]], tuple[str, ...]] = lambda config, parent: (
        "autopgd",
        "certify",
    )
    references: Callable[[Any], Mapping[str, str | dict[str, Any]]] = lambda config: {}
    check_references: Callable[[Any, Mapping[str, Any], Any], None] = lambda config, references, own: None
    freezes: bool = False
    repeats: Callable[[Any], int] = lambda config: 1
