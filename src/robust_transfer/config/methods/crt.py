"""CRT: certified robustness handed on by a robust teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


def _check_teacher(config: CRTConfig, references: Mapping[str, Any], own: Any) -> None:
    teacher = references["teacher"]
    if teacher.finetune is None or teacher.dataset != own.dataset:
        raise ConfigError(
            f"the teacher has not learnt the classes of {own.dataset} "
            f"(found {teacher.finetune or 'a pre-training'} on {teacher.dataset or teacher.source})",
            f"finetune.teacher=DIR of a model that is fine-tuned on {own.dataset}",
        )
    if teacher.train_sigma not in (None, config.sigma):
        raise ConfigError(
            f"the teacher was trained under noise of sigma {teacher.train_sigma:g} "
            f"(expected {config.sigma:g})",
            f"finetune.sigma={teacher.train_sigma:g}",
        )


@dataclass
class CRTConfig(TrainingConfig):
    """CRT: a certifiably robust teacher's logits under the same noise (Vaishnavi et al. 2022)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.crt:CRT",
        passes_per_image=lambda config: STEP + FORWARD,
        default_evaluators=lambda config, parent: ("certify",),
        references=lambda config: {"teacher": config.teacher},
        check_references=_check_teacher,
    )

    teacher: str | dict[str, Any] = option(
        "the teacher, a fine-tuning on the same data set under the same noise: directory, key or model file, "
        "or the values of a method, which then runs before",
        by_content=True,
    )
    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
    transfer_weight: float = option(
        "share of the distance to the teacher; the labels' is the rest", low=0, high=1
    )
