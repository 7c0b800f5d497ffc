"""Images inside parquet and arrow files, as data sets are shared on hubs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from robust_transfer.core.errors import DataError, install_extra

SUFFIXES = (".parquet", ".arrow")


def read_images(files: Sequence[Path]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Yield (parts of a name, bytes of the image file): split, class, the image's own path where it has one.

    The split is the table's name up to its first dash, or its folder; the class that of the label column.

    Raises
    ------
    DataError : pyarrow is not installed, or a file has no column of images
    """
    if find_spec("pyarrow") is None:
        raise DataError("reading parquet needs the package pyarrow", install_extra("parquet"))
    for file in files:
        try:
            for batch in _batches(file):
                yield from _rows(file, batch)
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read as a table ({error})") from error


def _batches(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            yield from table.iter_batches(batch_size=1000)
    else:
        with pa.memory_map(str(file)) as source:
            yield from pa.ipc.open_stream(source)


def _rows(file: Path, batch: Any) -> Iterator[tuple[tuple[str, ...], bytes]]:
    columns = set(batch.schema.names)
    image = next((name for name in ("image", "img") if name in columns), None)
    if image is None:
        raise DataError(f"{file} has no column of images (expected image or img, found {', '.join(columns)})")
    names, label = _class_names(batch.schema)
    split = file.parent.name if file.stem.startswith("data-") else file.stem.partition("-")[0]
    for number, row in enumerate(batch.to_pylist()):
        content = row[image]
        folder = (names[row[label]],) if label else ()
        path = PurePosixPath(content.get("path") or f"{number}").parts
        yield (split, *folder, *path), content["bytes"]


def _class_names(schema: Any) -> tuple[list[str], str | None]:
    """Return the class names and the label column, from the metadata that the hub's library writes."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    for column in ("fine_label", "label", "labels"):
        if column in schema.names and (names := features.get(column, {}).get("names")):
            return names, column
    return [], None
