"""A run as it is planned, and the keys of the same run with one field changed."""

import copy
import dataclasses
from pathlib import Path

from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.pipeline.stage import CheckpointMetadata
from robust_transfer.store.records import Lineage

BASE = ("pretrain=cr", "finetune=cr", "source=mnist5k", "dataset=digits", "model=resnet18_small")


def keys(config):
    return [stage.key for stage in training_stages(config)]


def child(config, name):
    """Return the node `name` of a configuration; evaluators' nodes are kept in one mapping."""
    settings = getattr(config, "evaluator_settings", {})
    return settings[name] if name in settings else getattr(config, name)


def set_field(config, path, value):
    node = changed = copy.deepcopy(config)
    *parents, name = path.split(".")
    for parent in parents:
        node = child(node, parent)
    setattr(node, name, value)
    return changed


def evaluation_of(config, names):
    return dataclasses.replace(config, evaluators=names)


def checkpoint(**changes):
    values = {"key": "f" * 64, "path": Path("model.safetensors"), "arch": "resnet18_small", "num_classes": 10}
    return CheckpointMetadata(**{**values, "train_sigma": 0.5, "lineage": Lineage(image_size=32), **changes})
