"""Choices that configurations and functions share; torch is not imported for them."""

ARITHMETICS = ("fp32", "tf32", "bf16")
NORMS = ("l2", "linf")

# How many classes a loss that an attack raises compares.
MIN_CLASSES = {"ce": 2, "margin": 2, "dlr": 3, "dlr_targeted": 4}
