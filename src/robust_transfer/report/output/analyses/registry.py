"""Analyses by name."""

from __future__ import annotations

from robust_transfer.core import named
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.report.output.analyses.answer import Answer, Question
from robust_transfer.report.output.analyses.names import ANALYSES

HERE = "robust_transfer.report.output.analyses"


def ask(name: str, question: Question) -> Answer:
    """Answer a question by the analysis of that name."""
    if name not in ANALYSES:
        raise ConfigError(
            f"analysis '{name}' is not known (expected {', '.join(ANALYSES)})", did_you_mean(name, ANALYSES)
        )
    answered: Answer = named.load(f"{HERE}.{name}:answer")(question)
    return answered
