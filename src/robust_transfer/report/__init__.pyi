"""Names of the package, imported on first use."""

from .index.frames import Frames as Frames
from .index.frames import load as load
