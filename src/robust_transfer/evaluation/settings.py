"""From configuration to the settings of an algorithm; torch-free, so that a plan can refuse them."""

from __future__ import annotations

from robust_transfer.config.evaluation import CertifyConfig
from robust_transfer.smoothing.settings import Settings


def smoothing_settings(config: CertifyConfig) -> Settings:
    """Return the settings of a certification, or refuse the first that is out of range."""
    return Settings(
        sigma=config.sigma,
        n0=config.n0,
        n=config.n,
        alpha=config.alpha,
        **config.rule,
        prefix="certify.",
    )
