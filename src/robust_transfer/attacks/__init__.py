"""Adversarial attacks on any classifier of [0, 1] images: PGD, APGD, and guards."""

from robust_transfer.attacks.apgd import autopgd
from robust_transfer.attacks.attack import AttackResult
from robust_transfer.attacks.pgd import perturb, pgd

__all__ = ["AttackResult", "autopgd", "perturb", "pgd"]
