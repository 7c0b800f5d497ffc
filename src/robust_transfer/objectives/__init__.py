"""Training objectives: (model, batch, noise, progress) -> loss, one file per method.

A plan asks for these modules by name without importing torch, so the names below are loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
