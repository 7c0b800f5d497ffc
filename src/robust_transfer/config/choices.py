"""Choices that several configurations share."""

ARITHMETICS = ("fp32", "tf32", "bf16")
NORMS = ("l2", "linf")
