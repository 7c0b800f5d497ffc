"""Get a set: download what can be, say what cannot, unpack what is there. Nothing else uses the network."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

from tqdm import tqdm

from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.core.files import atomic_path
from robust_transfer.core.logging import logger
from robust_transfer.data import catalogue
from robust_transfer.data.archive import unpack
from robust_transfer.data.checksums import md5_of
from robust_transfer.data.lists import read_lines
from robust_transfer.data.sources.matlab import read_mat
from robust_transfer.data.status import status

TIMEOUT_SECONDS = 30
FOLDER = "archives"


def fetch(name: str, root: str | Path) -> None:
    """Bring a set under `root`: archives go to <root>/archives, are checked and unpacked into their places.

    Raises
    ------
    DataError : no network, a wrong checksum, a refused archive, or archives that have to be got by hand; the
        message says which file (size, md5) goes where
    """
    entry, root = catalogue.get(name), Path(root)
    if not entry.archives:
        raise ConfigError(f"{name} has nothing to fetch ({entry.layout})")
    if status(name, root).state == "ok":
        logger.info(f"{name}: complete under {root}")
        return
    by_hand = []
    for archive in entry.archives:
        path = root / FOLDER / archive.file
        if not path.is_file() and archive.holds and (root / archive.holds).exists():
            logger.info(f"{name}: {archive.file} was unpacked before ({root / archive.holds})")
            continue
        if not path.is_file() and archive.url is None:
            by_hand.append(archive)
            continue
        if not path.is_file():
            logger.info(f"{name}: downloading {archive.file} ({archive.size}) from {archive.url}")
            download(archive.url or "", path)
        _check_md5(path, archive)
        logger.info(f"{name}: unpacking {archive.file} into {root / archive.into}")
        put_in_place(path, root / archive.into)
    if name == "imagenet" and not by_hand:
        sort_validation(root)
    if by_hand:
        wanted = ", ".join(f"{one.file} ({one.size}, md5 {one.md5})" for one in by_hand)
        raise DataError(
            f"{name} cannot be downloaded: put {wanted} into {root / FOLDER}",
            entry.origin,
            f"then: rt-data fetch {name}",
        )
    now = status(name, root)
    logger.info(f"{name}: {now.state}" + (f" ({now.problem})" if now.problem else ""))
    if entry.origin:
        logger.info(f"{name}: {entry.origin}")


def put_in_place(path: Path, folder: Path) -> None:
    """Unpack an archive into `folder`; a .mat file is only copied there."""
    if path.suffix != ".mat":
        unpack(path, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / path.name) as temporary:
        shutil.copyfile(path, temporary)


def _check_md5(path: Path, archive: catalogue.Archive) -> None:
    actual = md5_of(path)
    if actual != archive.md5:
        raise DataError(
            f"{path} is not the published archive (expected md5 {archive.md5}, found {actual})",
            "it is cut short, or a web page saved under its name: delete it and fetch it again",
        )


def download(url: str, path: Path) -> None:
    """Download to a temporary name beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, atomic_path(path) as temporary:
            size = int(response.headers.get("Content-Length") or 0)
            bar = tqdm(total=size or None, unit="B", unit_scale=True, desc=path.name, disable=None)
            with bar, temporary.open("wb") as target:
                while block := response.read(1 << 20):
                    target.write(block)
                    bar.update(len(block))
    except OSError as error:  # URLError, timeouts and refused connections are all OSErrors
        reason = getattr(error, "reason", error)
        raise DataError(
            f"{path.name} could not be downloaded: no connection to {url} ({reason})",
            f"download it elsewhere and put it at {path}, then run the same command",
        ) from error


def sort_validation(root: Path) -> None:
    """Move ImageNet's images that lie loose in val/ into class folders, as the devkit says."""
    home = root / "imagenet"
    devkit = home / "ILSVRC2012_devkit_t12" / "data"
    synsets = read_mat(devkit / "meta.mat", "synsets")
    wnid_of = {
        int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets if int(one["num_children"]) == 0
    }
    truth = read_lines(devkit / "ILSVRC2012_validation_ground_truth.txt", "the list of validation labels")
    for number, class_id in enumerate(truth, 1):
        file = home / "val" / f"ILSVRC2012_val_{number:08d}.JPEG"
        if file.is_file():
            folder = home / "val" / wnid_of[int(class_id)]
            folder.mkdir(exist_ok=True)
            file.rename(folder / file.name)
