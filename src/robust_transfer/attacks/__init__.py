"""Adversarial attacks on any classifier of [0, 1] images: PGD, APGD, AutoAttack, and guards."""

from robust_transfer.attacks.apgd import autopgd
from robust_transfer.attacks.autoattack import AutoAttackResult, autoattack
from robust_transfer.attacks.minimal_norm import MinimalNormResult, minimal_norm
from robust_transfer.attacks.pgd import perturb, pgd
from robust_transfer.attacks.state import AttackResult
from robust_transfer.attacks.transfer import transfer

__all__ = [
    "AttackResult",
    "AutoAttackResult",
    "MinimalNormResult",
    "autoattack",
    "autopgd",
    "minimal_norm",
    "perturb",
    "pgd",
    "transfer",
]
