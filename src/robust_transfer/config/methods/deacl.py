"""DeACL: a plain pre-training made robust by distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.adversarial import AttackConfig
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


def _check_teacher(config: DeACLConfig, references: Mapping[str, Any], own: Any) -> None:
    teacher = references["teacher"]
    if (teacher.arch, teacher.width) != (own.arch, own.width):
        raise ConfigError(
            f"the teacher is {teacher.arch} of width {teacher.width} "
            f"(expected {own.arch} of width {own.width}, which starts from its weights)"
        )


@dataclass
class DeACLConfig(TrainingConfig, OwnViews):
    """DeACL: the features of a plain pre-training, held under attack (Zhang et al. 2022)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.deacl:DeACL",
        passes_per_image=lambda config: config.attack.passes + FORWARD + 2 * STEP,
        needs_labels=False,
        own_views=True,
        default_evaluators=lambda config, parent: ("autopgd",),
        references=lambda config: {"teacher": config.teacher},
        check_references=_check_teacher,
    )

    teacher: str | dict[str, Any] = option(
        "the plain pre-training: directory, key or model file, or the values of a method, which then runs "
        "before",
        by_content=True,
    )
    attack: AttackConfig = option("the attack inside the step")
    robustness_weight: float = option("weight of attacked against clean features", low=0)
