"""Images per second of one core: our training loader against torchvision's, and two ways to SimCLR's views.

    python scripts/benchmark_data.py [--images 512] [--workers 1] [--rounds 5]
    python scripts/benchmark_data.py --real DIR [--rounds 10]

Both read the same JPEG files, crop, flip and batch them; the pixels are the same. The files are synthetic
(500x375, 90 kB on average), or photographs below DIR: caltech101/ and class folders in dtd10/train, as they
are there, with crops of 64 pixels, and encoded again at sizes in which such sets are published, with crops
of 224; our loader then also reads from its cache of decoded images. The plain loader makes float32 and
normalises in the worker, ours hands uint8 on. SimCLR's views are made by our loader whole (augment_on=cpu),
or cropped alone and left to the device (augment_on=device). All are timed in CPU seconds of the parent and
its workers together, in turn; the best round counts, because other work on the machine can only slow a
round down.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from measured import compared, save
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from robust_transfer.data import open_dataset
from robust_transfer.data.cache import cached
from robust_transfer.data.loaders import training_batches
from robust_transfer.data.transforms import train_transform
from robust_transfer.data.views import two_views

BATCH_SIZE, IMAGE_SIZE = 64, 224
EPOCHS = 4  # of photographs, read by workers that are started once, as a run's are


def write_images(root: Path, num_images: int) -> float:
    """Write JPEGs with the spectrum of photographs, roughly; return their mean size in kB."""
    draw = np.random.default_rng(0)
    total = 0
    for i in range(num_images):
        coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375), 3)
        pixels = np.asarray(coarse, dtype=np.int16) + draw.integers(-18, 19, (375, 500, 3))
        path = root / "train" / f"class{i % 8}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)
        total += path.stat().st_size
    return total / num_images / 1000


def read_plain(root: Path, workers: int, image_size: int = IMAGE_SIZE, epochs: int = 1) -> int:
    """Read `epochs` times as many images as there are with the usual recipe."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    dataset = ImageFolder(str(root / "train"), transform)
    # As in a run, whose workers start once: all epochs in one.
    order = RandomSampler(dataset, num_samples=epochs * len(dataset), replacement=epochs > 1)
    loader = DataLoader(dataset, BATCH_SIZE, sampler=order, num_workers=workers, drop_last=True)
    return sum(len(labels) for _, labels in loader)


def read_ours(
    root: Path, workers: int, transforms: Sequence[Callable], cache: str = "off", epochs: int = 1
) -> int:
    """Read `epochs` epochs with our loader."""
    dataset = cached(open_dataset("imagefolder", root, "train"), root, cache, build=False)
    batches = training_batches(
        dataset,
        lambda epoch: transforms,
        batch_size=BATCH_SIZE,
        seed=0,
        start_step=0,
        total_steps=epochs * (len(dataset) // BATCH_SIZE),
        num_workers=workers,
    )
    return sum(len(batch.labels) for batch in batches)


CONTESTANTS: dict[str, Callable[[Path, int], int]] = {
    "plain": read_plain,
    "ours": partial(read_ours, transforms=(train_transform(IMAGE_SIZE, "crop_flip"),)),
    "views, cpu": partial(read_ours, transforms=two_views(IMAGE_SIZE, 1.0, "cpu")),
    "views, device": partial(read_ours, transforms=two_views(IMAGE_SIZE, 1.0, "device")),
}


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def rate(read: Callable[[Path, int], int], root: Path, workers: int) -> tuple[float, float]:
    """Return images per (CPU second, second) of one epoch."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    images = read(root, workers)
    return images / (cpu_seconds() - cpu), images / (time.perf_counter() - wall)


# name: folder of class folders below --real, side of a crop, size to encode again at, images
REAL = {
    "Caltech-101 at 72 px": ("caltech101/101_ObjectCategories", 64, None, 320),
    "DTD at 72 px": ("dtd10/train", 64, None, 320),
    "photographs of 300x200": ("caltech101/101_ObjectCategories", 224, (300, 200), 128),
    "photographs of 640x480": ("dtd10/train", 224, (640, 480), 64),
}


def copy_photographs(source: Path, root: Path, size: tuple[int, int] | None, num_images: int) -> None:
    """Lay out evenly spaced photographs below root/train, encoded again where a size is given."""
    files = sorted(source.glob("*/*.jpg"))
    for position in np.linspace(0, len(files) - 1, num_images).astype(int):
        file = files[position]
        target = root / "train" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if size is None:
            shutil.copyfile(file, target)
        else:
            Image.open(file).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(target, quality=92)


def compare_real(folder: Path, rounds: int) -> list[dict]:
    """Time epochs of photographs: the usual recipe, ours, ours from decoded images."""
    rows = []
    for name, (source, image_size, size, num_images) in REAL.items():
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            copy_photographs(folder / source, root, size, num_images)
            cached(open_dataset("imagefolder", root, "train"), root, "auto", build=True)
            make = (train_transform(image_size, "crop_flip"),)
            readers = {
                "plain": partial(read_plain, image_size=image_size, epochs=EPOCHS),
                "our loader": partial(read_ours, transforms=make, epochs=EPOCHS),
                "our loader, images decoded once": partial(
                    read_ours, transforms=make, cache="auto", epochs=EPOCHS
                ),
            }
            for workers in (0, 1):
                costs: dict[str, list[float]] = {reader: [] for reader in readers}
                for _ in range(rounds):
                    for reader, read in readers.items():
                        costs[reader].append(1 / rate(read, root, workers)[0])
                what = f"reading {name}, crops of {image_size} px, {workers} worker{'s' * (workers != 1)}"
                for ours in list(readers)[1:]:
                    row = compared(what, ours, "ImageFolder and DataLoader", costs["plain"], costs[ours])
                    print(
                        f"{what}, {ours}: {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
                        flush=True,
                    )
                    rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real", type=Path, help="folder with photographs: caltech101/ and dtd10/")
    parser.add_argument("--json", type=Path, help="write the results here too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.real:
        rows = compare_real(arguments.real, arguments.rounds)
        if arguments.json:
            save(arguments.json, rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        kilobytes = write_images(Path(folder), arguments.images)
        print(
            f"{arguments.images} JPEGs of 500x375, {kilobytes:.0f} kB on average, {arguments.workers} workers"
        )
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
        for _ in range(arguments.rounds):
            for name, read in CONTESTANTS.items():
                rates[name].append(rate(read, Path(folder), arguments.workers))
    best = {name: np.max(values, axis=0) for name, values in rates.items()}
    for name, (per_cpu, per_wall) in best.items():
        print(f"{name:<13} {per_cpu:7.1f} images / CPU second   {per_wall:7.1f} images / second")
    for name, base in (("ours", "plain"), ("views, device", "views, cpu")):
        per_cpu, per_wall = best[name] / best[base]
        print(f"{name} / {base}: {per_cpu:.2f} in CPU time, {per_wall:.2f} in time")
    if arguments.json:
        costs = {name: [1 / per_cpu for per_cpu, _ in values] for name, values in rates.items()}
        rows = [
            compared("reading a training batch, 224 px", "our loader", "ImageFolder and DataLoader",
                     costs["plain"], costs["ours"]),
            compared("SimCLR's views in the loader, 224 px", "augment_on=device", "augment_on=cpu",
                     costs["views, cpu"], costs["views, device"], bound=True),
        ]  # fmt: skip
        save(arguments.json, rows, images=arguments.images, workers=arguments.workers)


if __name__ == "__main__":
    main()
