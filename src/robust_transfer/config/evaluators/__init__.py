"""The evaluators there are: their settings and specs, a file each, those of other packages included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec
from robust_transfer.config.evaluators.attack import AttackEvaluatorConfig
from robust_transfer.config.evaluators.autoattack import AutoAttackConfig
from robust_transfer.config.evaluators.autopgd import AutoPGDConfig
from robust_transfer.config.evaluators.certify import (
    MODES,
    AdaptiveConfig,
    CertifyConfig,
    DecideConfig,
    ExactConfig,
)
from robust_transfer.config.evaluators.clean import CleanConfig
from robust_transfer.config.evaluators.corruptions import CORRUPTIONS, CorruptionsConfig
from robust_transfer.config.evaluators.minimal_norm import MinimalNormConfig
from robust_transfer.config.evaluators.pgd import PGDConfig
from robust_transfer.config.evaluators.transfer import TransferConfig
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.extensions import extensions

__all__ = [
    "BUILT_IN",
    "CORRUPTIONS",
    "GROUP",
    "LINEAR_PROBE",
    "MODES",
    "PROBED_BY",
    "AdaptiveConfig",
    "AttackEvaluatorConfig",
    "AutoAttackConfig",
    "AutoPGDConfig",
    "CertifyConfig",
    "CleanConfig",
    "CorruptionsConfig",
    "DecideConfig",
    "EvaluatorConfig",
    "EvaluatorNodes",
    "ExactConfig",
    "MinimalNormConfig",
    "PGDConfig",
    "TransferConfig",
    "evaluator_spec",
    "evaluators",
    "parse_evaluators",
]

GROUP = "robust_transfer.evaluators"  # entry points of evaluators from other packages
LINEAR_PROBE = "linear_probe"  # rt-eval's word for a last layer that is trained, then measured by PROBED_BY
PROBED_BY = "clean"

BUILT_IN: tuple[type[EvaluatorConfig], ...] = (
    CleanConfig,
    PGDConfig,
    AutoPGDConfig,
    AutoAttackConfig,
    CertifyConfig,
    CorruptionsConfig,
    MinimalNormConfig,
    TransferConfig,
)


@cache
def evaluators() -> dict[str, type[EvaluatorConfig]]:
    """Return the config class of every evaluator by its name: ours, then those of other packages.

    Raises
    ------
    ConfigError : a package brings an evaluator that cannot be imported, or whose name is taken
    """
    classes: dict[str, type[EvaluatorConfig]] = {config.spec.name: config for config in BUILT_IN}
    for extension in extensions(GROUP):
        config_class = extension.load_class(EvaluatorConfig)
        extension.add_to(classes, config_class.spec.name, config_class)
    return classes


def evaluator_spec(name: str) -> EvaluatorSpec:
    """Return an evaluator's spec; of one that is not installed here, a spec that knows its name alone."""
    config_class = evaluators().get(name)
    return (
        config_class.spec
        if config_class
        else EvaluatorSpec(name, "an evaluator that is not installed here", metrics=())
    )


@dataclass
class EvaluatorNodes:
    """The evaluators' settings, shared by rt-train and rt-eval: one node each, such as `certify.sigma`."""

    evaluator_settings: dict[str, EvaluatorConfig] = option("settings of every evaluator, by its name")


def parse_evaluators(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the nodes of the evaluators parsed and put together in `evaluator_settings`."""
    if "evaluator_settings" in values:
        raise ConfigError("evaluator_settings is not a field", "EVALUATOR.FIELD=VALUE")
    nodes = {name: cls for name, cls in evaluators().items() if name in values}
    parsed = {name: config_class.parse(values[name], name) for name, config_class in nodes.items()}
    others = {name: value for name, value in values.items() if name not in nodes}
    return {**others, "evaluator_settings": parsed}
