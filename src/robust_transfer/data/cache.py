"""Images decoded once: whole, as uint8, in one memory-mapped file that workers, processes and runs share.

The pixels are those that decoding gives, so a cache changes no result. Images are kept in full size, since a
random crop cuts the original; it is cut from the map before Pillow sees it, so that little is copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock
from PIL import Image, features
from tqdm import tqdm

from robust_transfer.core.errors import DataError
from robust_transfer.core.logging import logger
from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.images import FileImages

OFF, AUTO = "off", "auto"
FOLDER = "decoded"  # below the data root, unless another folder is given
SHARE_OF_DISK = 0.5  # of what is free that a cache may take
SAMPLED = 64  # images from whose headers the size of a cache is estimated
CHUNK = 256  # images that are decoded at a time

Read = Callable[[int], Image.Image]


class MappedImage(Image.Image):
    """An RGB image whose pixels (H, W, 3) lie in a map: a crop copies its part alone."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__()
        self._pixels, self._loaded = pixels, False
        self._mode, self._size = "RGB", (pixels.shape[1], pixels.shape[0])

    def load(self) -> Any:
        """Copy all pixels to Pillow's own memory, once something needs them."""
        if not self._loaded:
            self.im, self._loaded = Image.fromarray(self._pixels).im, True
        return super().load()

    def crop(self, box: Any = None) -> Image.Image:
        """Cut a box; Pillow handles one that reaches outside, and an image that was changed."""
        if self._loaded or box is None or min(box[:2]) < 0 or box[2] > self.width or box[3] > self.height:
            return super().crop(box)
        left, top, right, bottom = (round(edge) for edge in box)
        pixels = self._pixels[top:bottom, left:right]
        return Image.frombytes("RGB", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Image.frombytes, (self.mode, self.size, self.tobytes())  # an image of its own


class DecodedImages:
    """The images of a data set from its cache; those that could not be decoded are read from their files."""

    def __init__(self, path: Path, original: Read) -> None:
        self.path, self.original = path, original
        self.index = np.load(_index_of(path))  # (N, 3): offset, height, width; 0 pixels: not decoded
        self._bytes: np.ndarray | None = None

    def __call__(self, position: int) -> Image.Image:
        """Return the image at one position."""
        offset, height, width = self.index[position].tolist()
        if not height:
            return self.original(position)
        if self._bytes is None:  # opened where it is read: each process maps the file itself
            self._bytes = np.memmap(self.path, dtype=np.uint8, mode="r")
        return MappedImage(self._bytes[offset : offset + height * width * 3].reshape(height, width, 3))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}


def cached(dataset: ImageDataset, root: str | Path, cache: str, *, build: bool) -> ImageDataset:
    """Return a data set that reads decoded images, or the same one where there is no cache for it.

    Parameters
    ----------
    cache : "off", "auto" (a folder below the data root) or a folder
    build : decode the images now if that was not done before and the disk has room
    """
    if cache == OFF or not isinstance(dataset.reader, FileImages) or not len(dataset):
        return dataset
    folder = Path(root) / FOLDER if cache == AUTO else Path(cache)
    path = folder / f"{dataset.name}-{dataset.split}-{_stamp(dataset)[:16]}.u8"
    if not _index_of(path).is_file() and not (build and _build(dataset, path)):
        return dataset
    return dataset.reading(DecodedImages(path, dataset.read))


def _stamp(dataset: ImageDataset) -> str:
    """Hash what the pixels depend on: the files with their sizes and times, and the decoder."""
    assert isinstance(dataset.reader, FileImages)
    digest = hashlib.sha256(f"{PIL.__version__} {features.version('jpg')}".encode())
    for path in dataset.paths:
        try:
            stat = os.stat(dataset.reader.root / path)
        except OSError:
            digest.update(f"{path}\tabsent\n".encode())
        else:
            digest.update(f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _index_of(path: Path) -> Path:
    return path.with_suffix(".npy")


def _build(dataset: ImageDataset, path: Path) -> bool:
    """Write a cache, whole or not at all; False, with a log line that says why, where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if _index_of(path).is_file():  # another process was faster
                return True
            needed, free = _needed(dataset), shutil.disk_usage(path.parent).free
            if needed > SHARE_OF_DISK * free:
                logger.info(
                    f"{dataset.name}: images are decoded anew in every epoch: {needed / 1e9:.1f} GB decoded, "
                    f"{free / 1e9:.1f} GB free in {path.parent} (data.cache=DIR names another folder)"
                )
                return False
            logger.info(
                f"{dataset.name}: decoding {len(dataset):,} images once, {needed / 1e9:.2f} GB in {path}"
            )
            _write(dataset, path)
    except OSError as error:
        logger.info(f"{dataset.name}: images are decoded anew in every epoch: {path.parent} ({error})")
        return False
    return True


def _needed(dataset: ImageDataset) -> float:
    """Estimate the bytes of the decoded images from the headers of a few."""
    assert isinstance(dataset.reader, FileImages)
    sizes = []
    for position in np.linspace(0, len(dataset) - 1, min(SAMPLED, len(dataset))).astype(int).tolist():
        try:
            with Image.open(dataset.reader.root / dataset.paths[position]) as image:
                sizes.append(3 * image.width * image.height)
        except Exception:  # the reader reports a broken file
            continue
    return float(np.mean(sizes or [0])) * len(dataset)


def _write(dataset: ImageDataset, path: Path) -> None:
    part, index, offset = path.with_suffix(".part"), [], 0
    with part.open("wb") as target:
        for pixels in tqdm(
            _decoded(dataset), total=len(dataset), desc=f"decoding {dataset.name}", disable=None
        ):
            index.append((offset, *pixels.shape[:2]))
            offset += pixels.size
            target.write(pixels.tobytes())
        target.flush()
        os.fsync(target.fileno())
    os.replace(part, path)
    _write_index(path, np.array(index, dtype=np.int64))


def _write_index(path: Path, index: np.ndarray) -> None:
    part = path.with_suffix(".npy.part")
    with part.open("wb") as target:
        np.save(target, index)
    os.replace(part, _index_of(path))


def _decoded(dataset: ImageDataset) -> Iterator[np.ndarray]:
    """Decode all images in order, a chunk at a time, by as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(dataset), CHUNK):
            yield from pool.map(
                lambda position: _pixels(dataset.read, position),
                range(start, min(start + CHUNK, len(dataset))),
            )


def _pixels(read: Read, position: int) -> np.ndarray:
    try:
        return np.asarray(read(position))
    except DataError:
        return np.empty((0, 0, 3), dtype=np.uint8)
