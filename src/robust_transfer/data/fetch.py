"""Get a set: download what can be, name what cannot, unpack the archives. Nothing else uses the network."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.core.files import atomic_path
from robust_transfer.core.logging import logger
from robust_transfer.data import catalogue
from robust_transfer.data.archive import unpack
from robust_transfer.data.checksums import known_md5
from robust_transfer.data.download import download
from robust_transfer.data.images import file_problem
from robust_transfer.data.lists import read_lines
from robust_transfer.data.sources.matlab import read_mat
from robust_transfer.data.status import status

FOLDER = "archives"


def fetch(name: str, root: str | Path) -> None:
    """Bring a set under `root`, whole: archives go to <root>/archives, are checked and unpacked.

    Raises
    ------
    DataError : the set is not whole at the end: no network, a wrong checksum, a refused archive, or archives
        that must be downloaded by hand; the message says which file (size, md5) goes where
    """
    entry, root = catalogue.get(name), Path(root)
    if not entry.archives:
        raise ConfigError(f"{name} has nothing to fetch ({entry.layout})")
    if status(name, root).state == "ok":
        logger.info(f"{name}: complete under {root}")
        return
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    with FileLock(root / FOLDER / f".{name}.lock"):  # so that leftovers of a killed process are not in use
        _bring(entry, root)
    state = status(name, root)
    if state.state != "ok":
        raise DataError(f"{name} is not whole: {state.problem}", entry.origin or f"rt-data status {name}")
    logger.info(f"{name}: {state.state}" + (f" ({state.problem})" if state.problem else ""))


def _bring(entry: catalogue.Entry, root: Path) -> None:
    """Put archives in place until the set is whole: those that are on disk or absent first."""
    present, absent, unpacked = [], [], []
    for archive in entry.archives:
        if (root / FOLDER / archive.file).is_file():
            present.append(archive)
        elif archive.holds and (root / archive.holds).exists():
            unpacked.append(archive)
        else:
            absent.append(archive)
    _refuse_by_hand(entry, root, absent)
    for archive in (*present, *absent):
        _put(entry, root, archive)
    # What these held is on disk, perhaps in part: they are fetched again while the set is not whole.
    for archive in unpacked:
        if status(entry.name, root).state == "ok":
            return
        _refuse_by_hand(entry, root, [archive])
        _put(entry, root, archive)


def _refuse_by_hand(entry: catalogue.Entry, root: Path, archives: list[catalogue.Archive]) -> None:
    by_hand = [archive for archive in archives if archive.url is None]
    if by_hand:
        files = ", ".join(f"{archive.file} ({archive.size}, md5 {archive.md5})" for archive in by_hand)
        raise DataError(
            f"{entry.name} cannot be downloaded: put {files} into {root / FOLDER}",
            entry.origin,
            f"then: rt-data fetch {entry.name}; from another layout: rt-data import {entry.name} --from DIR",
        )


def _put(entry: catalogue.Entry, root: Path, archive: catalogue.Archive) -> None:
    path = root / FOLDER / archive.file
    if not path.is_file():
        logger.info(f"{entry.name}: downloading {archive.file} ({archive.size}) from {archive.url}")
        download(archive.url or "", path, archive.md5)
    elif (actual := known_md5(path)) != archive.md5:
        kind = file_problem(path)
        raise DataError(
            f"{path} is not the published archive (expected md5 {archive.md5}, found {actual}"
            f"{f': {kind}' if kind else ''})",
            "it is cut short, or another file under its name: delete it and fetch it again",
        )
    logger.info(f"{entry.name}: unpacking {archive.file} into {root / archive.into}")
    put_in_place(path, root / archive.into, archive.inner)
    if archive.file == "ILSVRC2012_img_val.tar":
        sort_validation(root)


def put_in_place(path: Path, folder: Path, inner: str) -> None:
    """Unpack an archive into `folder`; a .mat file is only copied there."""
    if path.suffix != ".mat":
        unpack(path, folder, inner)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / path.name) as temporary:
        shutil.copyfile(path, temporary)


def sort_validation(root: Path) -> None:
    """Move ImageNet's images that lie loose in val/ into class folders by the devkit's labels."""
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
