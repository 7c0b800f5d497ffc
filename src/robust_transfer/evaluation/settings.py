"""From configuration to the settings of an algorithm; torch-free, so that a plan can refuse them."""

from __future__ import annotations

from robust_transfer.config.evaluators import CertifyConfig, DecideConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.smoothing.settings import Settings
from robust_transfer.smoothing.stopping import largest_radius


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


def check_certification(config: CertifyConfig) -> None:
    """Refuse settings out of range, and a radius to decide that no number of votes can certify."""
    settings = smoothing_settings(config)
    if not isinstance(config, DecideConfig) or not settings.sigma:
        return
    limit = largest_radius(
        sigma=settings.sigma,
        n=settings.n,
        alpha=settings.alpha,
        mode=settings.mode,
        analyses=settings.analyses,
    )
    beyond = [radius for radius in config.radii if radius > limit]
    if beyond:
        raise ConfigError(
            f"certify.radii={config.radii} (expected at most {limit:.4g}, the largest radius at "
            f"sigma={settings.sigma:g}, n={settings.n:,} and alpha={settings.alpha:g})"
        )
