"""Configuration of pre-training and fine-tuning methods, a file each; here is which there are."""

from __future__ import annotations

from robust_transfer.config.methods.acl import ACLConfig
from robust_transfer.config.methods.adversarial import (
    AdversarialConfig,
    AdversarialLinearConfig,
    AttackConfig,
)
from robust_transfer.config.methods.byol import BYOLConfig
from robust_transfer.config.methods.consistency import ConsistencyConfig, ConsistencyLinearConfig
from robust_transfer.config.methods.crt import CRTConfig
from robust_transfer.config.methods.deacl import DeACLConfig
from robust_transfer.config.methods.dynacl import DynACLConfig
from robust_transfer.config.methods.free import FreeConfig
from robust_transfer.config.methods.gaussian import GaussianConfig
from robust_transfer.config.methods.lwf import LwFConfig
from robust_transfer.config.methods.macer import MACERConfig
from robust_transfer.config.methods.moco import MoCoConfig
from robust_transfer.config.methods.pretext import JigsawConfig, RotationConfig
from robust_transfer.config.methods.simclr import SimCLRConfig
from robust_transfer.config.methods.smoothadv import SmoothAdvConfig
from robust_transfer.config.methods.smoothmix import SmoothMixConfig
from robust_transfer.config.methods.standard import LinearConfig, StandardConfig
from robust_transfer.config.methods.swav import SwAVConfig
from robust_transfer.config.methods.trades import TradesConfig
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.methods.twins import TwinsConfig
from robust_transfer.config.methods.untrained import CheckpointConfig, NoneConfig

__all__ = [
    "FINETUNE",
    "PRETRAIN",
    "ACLConfig",
    "AdversarialConfig",
    "AdversarialLinearConfig",
    "AttackConfig",
    "BYOLConfig",
    "CRTConfig",
    "CheckpointConfig",
    "ConsistencyConfig",
    "ConsistencyLinearConfig",
    "DeACLConfig",
    "DynACLConfig",
    "FreeConfig",
    "GaussianConfig",
    "JigsawConfig",
    "LinearConfig",
    "LwFConfig",
    "MACERConfig",
    "MoCoConfig",
    "NoneConfig",
    "RotationConfig",
    "SimCLRConfig",
    "SmoothAdvConfig",
    "SmoothMixConfig",
    "StandardConfig",
    "SwAVConfig",
    "TradesConfig",
    "TrainingConfig",
    "TwinsConfig",
]

PRETRAIN: dict[str, type] = {
    "none": NoneConfig,
    "st": StandardConfig,
    "at": AdversarialConfig,
    "cr": ConsistencyConfig,
    "trades": TradesConfig,
    "gaussian": GaussianConfig,
    "smoothadv": SmoothAdvConfig,
    "macer": MACERConfig,
    "smoothmix": SmoothMixConfig,
    "free": FreeConfig,
    "simclr": SimCLRConfig,
    "byol": BYOLConfig,
    "moco": MoCoConfig,
    "swav": SwAVConfig,
    "acl": ACLConfig,
    "dynacl": DynACLConfig,
    "deacl": DeACLConfig,
    "rotation": RotationConfig,
    "jigsaw": JigsawConfig,
    "checkpoint": CheckpointConfig,
}
FINETUNE: dict[str, type] = {
    "st": StandardConfig,
    "st_linear": LinearConfig,
    "at_linear": AdversarialLinearConfig,
    "cr_linear": ConsistencyLinearConfig,
    "at": AdversarialConfig,
    "cr": ConsistencyConfig,
    "trades": TradesConfig,
    "free": FreeConfig,
    "twins": TwinsConfig,
    "lwf": LwFConfig,
    "gaussian": GaussianConfig,
    "smoothadv": SmoothAdvConfig,
    "macer": MACERConfig,
    "smoothmix": SmoothMixConfig,
    "crt": CRTConfig,
}
