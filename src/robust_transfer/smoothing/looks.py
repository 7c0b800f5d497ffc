"""When the votes may be looked at, and how much of the error budget each look spends."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_LOOK = 500
EARLY_SHARE = 0.2


@dataclass(frozen=True)
class Look:
    """A look at the votes after `samples` samples, at Clopper-Pearson level 1 - `alpha`."""

    samples: int
    alpha: float


def schedule(mode: str, *, n: int, alpha: float) -> tuple[Look, ...]:
    """Split one image's error budget over the looks of a mode; the shares add up to `alpha`.

    `exact` looks once, at n. The others look at 500, 1,000, 2,000, ... below n, which share a fifth of alpha,
    and at n with the rest. By the union bound all looks' bounds hold together with probability 1 - alpha, so
    any of them may be reported and any rule may stop the sampling (Pocock 1977 for the idea of
    group-sequential tests).
    """
    if mode == "exact":
        return (Look(n, alpha),)
    early = []
    samples = FIRST_LOOK
    while samples < n:
        early.append(samples)
        samples *= 2
    if not early:
        return (Look(n, alpha),)
    share = EARLY_SHARE * alpha / len(early)
    return (*(Look(samples, share) for samples in early), Look(n, (1 - EARLY_SHARE) * alpha))
