"""Choices that configurations and functions share; torch is not imported for them."""

ARITHMETICS = ("fp32", "tf32", "bf16")
NORMS = ("l2", "linf")
ALL_NORMS = (*NORMS, "l1")  # of APGD, AutoAttack and the minimal-norm attack
STORAGES = ("float", "8bit")  # of adversarial images
SHAPES = ("ladder", "one")  # of forward passes: `models.batching`

# How many classes a loss that an attack raises compares.
MIN_CLASSES = {"ce": 2, "margin": 2, "ce_rescaled": 3, "dlr": 3, "dlr_targeted": 4}
FREEZE_LEVELS = ("none", "layer1", "layer2", "layer3", "layer4")  # by the position: how many stages
CHANNELS = ("rgb", "bgr")  # of the images that a network takes
ANALYSES = ("dense", "doubling")  # when a certification looks at its counts: see smoothing.stopping
