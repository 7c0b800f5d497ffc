"""How numbers, models and measurements are written, in every format alike."""

from __future__ import annotations

from typing import Any

from robust_transfer.report.index.collect import Run


def percent(value: float | None, *, signed: bool = False) -> str:
    """Write a fraction in percent with one decimal; signed ones from 100 % on without."""
    if value is None:
        return "–"
    if signed and abs(value) >= 1:
        return f"{100 * value:+.0f}"
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def metric_text(metric: str, value: float | None) -> str:
    """Write a metric's value: percent for accuracies, three decimals for the radius."""
    if value is None:
        return "–"
    return f"{value:.3f}" if metric == "acr" else percent(value)


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """Write an interval of a metric, empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{metric_text(metric, low)}, {metric_text(metric, high)}]"


def model_text(lineage: dict[str, Any]) -> str:
    """Name a model by its two methods."""
    return f"{lineage.get('pretrain') or '?'}>{lineage.get('finetune') or '-'}"


def settings_line(run: Run) -> str:
    """Say in one line how a run's numbers were measured."""
    s = run.settings
    if run.evaluator == "certify":
        if not s.get("sigma"):
            return "Plain classifier (sigma 0, radius 0)"
        mode = "" if s.get("mode", "exact") == "exact" else f", mode {s['mode']}"
        return f"Certified at sigma {s['sigma']:g}: n0 {s['n0']:,}, n {s['n']:,}, alpha {s['alpha']:g}{mode}"
    name = {"autopgd": "AutoPGD", "pgd": "PGD"}.get(run.evaluator, run.evaluator)
    norm = {"l2": "L2", "linf": "L-inf"}.get(str(s.get("norm")), s.get("norm"))
    if run.evaluator == "autoattack":
        steps = f"{s.get('num_steps')} steps, {s.get('num_queries')} queries"
        return f"AutoAttack (APGD-CE, APGD-T, FAB-T, Square): {norm} eps {s.get('eps')}, {steps}"
    restarts = s.get("num_restarts", 1)
    return (
        f"{name}: {norm} eps {s.get('eps')}, {s.get('num_steps')} steps, "
        f"{restarts} restart{'s' if restarts != 1 else ''}, loss {s.get('loss', 'ce')}"
    )
