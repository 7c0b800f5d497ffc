"""Open one image of a split: from a file, or from an array held in memory. Always RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from robust_transfer.core.errors import DataError


def open_rgb(path: Path | IO[bytes]) -> Image.Image:
    """Decode an image file to RGB, whatever its mode (gray, palette, RGBA, CMYK) and its suffix say.

    Raises
    ------
    DataError : the file is absent, cut short or no image; the message names it
    """
    try:
        with Image.open(path) as image:
            if image.mode == "RGB":
                image.load()  # convert() would copy it
                return image
            if image.mode.startswith("I;16"):
                return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
            if image.mode in ("I", "F"):
                raise ValueError(f"its values of 32 bits (mode {image.mode}) have no range: save it with 8")
            if image.mode == "P" and "transparency" in image.info:
                # Straight to RGB gives the same pixels, with a warning for each such file.
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
    except Exception as error:  # a broken file raises nearly anything from inside Pillow's plugins
        reason = file_problem(path) if isinstance(path, Path) else None
        reason = reason or str(error).replace(str(path), "it") or type(error).__name__
        raise DataError(
            f"{path} cannot be read as an image ({reason})",
            "restore the file, or leave such images out, counted and listed: data.on_error=skip",
        ) from error


def file_problem(path: Path) -> str | None:
    """Say what is usually wrong with a file that is no image or archive; None where it is something else."""
    if not path.is_file():
        return "it is not there" if not path.exists() else None
    with path.open("rb") as stream:
        start = stream.read(200).lstrip().lower()
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: git lfs pull brings the file"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page: a sign-in, or a quota that is used up"
    return None


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale 0..65535 to 0..255, rounded; Pillow would cut off everything above 255."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


class FileImages:
    """Images in files below `root`; a row is a position in `paths`."""

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root, self.paths = Path(root), paths

    def __call__(self, row: int) -> Image.Image:
        """Decode the image of one row."""
        return open_rgb(self.root / self.paths[row])


class ArrayImages:
    """Images held in memory as uint8, (N, H, W) or (N, H, W, 3)."""

    def __init__(self, pixels: np.ndarray) -> None:
        assert pixels.dtype == np.uint8
        self.pixels = pixels

    def __call__(self, row: int) -> Image.Image:
        """Return the image of one row."""
        return Image.fromarray(self.pixels[row]).convert("RGB")
