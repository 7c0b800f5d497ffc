"""Models from [0, 1] images to logits: architectures, the normalising wrapper, saving, loading, importing.

Names are resolved on first use: `models.metadata` and `models.container` stay importable without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
