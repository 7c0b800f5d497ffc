"""Models from [0, 1] images to logits: architectures, the normalising wrapper, saving, loading, importing.

Names are resolved on first use: `models.metadata` and `models.container` stay importable without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_transfer.core.lazy import lazily

if TYPE_CHECKING:
    from robust_transfer.models.backbones import backbone, num_features
    from robust_transfer.models.card import model_card
    from robust_transfer.models.checkpoint import load_model, save_model
    from robust_transfer.models.export import export_model
    from robust_transfer.models.importers import (
        describe_file,
        import_checkpoint,
        import_stage,
        torchvision_weights,
    )
    from robust_transfer.models.metadata import read_metadata
    from robust_transfer.models.normalized import Classifier, build_model, replace_head

__all__ = [
    "Classifier",
    "backbone",
    "build_model",
    "describe_file",
    "export_model",
    "import_checkpoint",
    "import_stage",
    "load_model",
    "model_card",
    "num_features",
    "read_metadata",
    "replace_head",
    "save_model",
    "torchvision_weights",
]

_HOME = {
    "backbone": "backbones",
    "num_features": "backbones",
    "Classifier": "normalized",
    "build_model": "normalized",
    "replace_head": "normalized",
    "load_model": "checkpoint",
    "save_model": "checkpoint",
    "read_metadata": "metadata",
    "export_model": "export",
    "model_card": "card",
    "describe_file": "importers",
    "import_checkpoint": "importers",
    "import_stage": "importers",
    "torchvision_weights": "importers",
}

__getattr__ = lazily(__name__, _HOME)
