"""The classes of ImageNet in words, as torchvision's weights name them, in the order of the WordNet ids."""

from __future__ import annotations


def words() -> list[str]:
    """Return 1,000 names; two of them occur twice (crane, maillot), as the set has it."""
    from torchvision.models import ResNet50_Weights  # half a second, and torch: not for a plan

    names: list[str] = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    return names
