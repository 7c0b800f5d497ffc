"""Read checkpoints of other projects: one mapping table per format, one way to check them."""

from robust_transfer.models.importers.describe import content_sha256, describe_file
from robust_transfer.models.importers.detect import FORMAT_NAMES
from robust_transfer.models.importers.load import import_checkpoint
from robust_transfer.models.importers.published import (
    published_accuracy,
    published_weights,
    torchvision_weights,
)
from robust_transfer.models.importers.report import ImportReport
from robust_transfer.models.importers.stage import import_stage, read_for

__all__ = [
    "FORMAT_NAMES",
    "ImportReport",
    "content_sha256",
    "describe_file",
    "import_checkpoint",
    "import_stage",
    "published_accuracy",
    "published_weights",
    "read_for",
    "torchvision_weights",
]
