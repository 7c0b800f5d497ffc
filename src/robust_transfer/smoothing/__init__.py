"""Randomized smoothing: certificates for any classifier of [0, 1] images.

Names are resolved on first use, so that `smoothing.settings` stays importable without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
