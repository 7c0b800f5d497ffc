"""Sizes of test images, for plans, which import no torch."""


def resized_side(image_size: int) -> int:
    """Return to how many pixels the short side is resized before the centre is cropped in the test."""
    return round(image_size * 256 / 224)
