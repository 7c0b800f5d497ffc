"""The head of weights that are published with an accuracy, measured on first use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.config.data import DataConfig
from robust_transfer.config.methods import CheckpointConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.core.errors import DataError
from robust_transfer.core.logging import logger
from robust_transfer.core.statistics import proportion_interval

if TYPE_CHECKING:
    from robust_transfer.data.dataset import ImageDataset
    from robust_transfer.models import Classifier

IMAGES, PART = 100, 25
LEVEL = 0.999  # probability that the correct weights pass
NATIVE = ("cifar10", "cifar100")  # measured on whole images by convention


def measure_head(
    path: Path, config: CheckpointConfig, model: ModelConfig, data: DataConfig, *, device: str
) -> dict[str, Any]:
    """Measure the head of named weights on a few test images, and compare that with the published accuracy.

    Returns
    -------
    fields for status.json; empty where no accuracy is published, or no images are on disk

    Parameters
    ----------
    path : the file of the weights
    device : cpu or a kind of accelerator
    """
    from robust_transfer.models.importers import published_accuracy, read_for

    claim = published_accuracy(config.weights, arch=model.arch)
    if claim is None:
        return {}
    name, published = claim
    classifier, _ = read_for(path, config, model, keep_head=True)
    try:
        images = _test_images(name, data, classifier)
    except DataError as error:
        logger.info(f"head: not measured ({published:.2f} % of {name} is published): {error.what}")
        return {}
    correct, count = _correct(classifier.to(device), images, model, device=device)
    low, high, _ = proportion_interval(correct, count, level=LEVEL)
    text = f"head: {correct} of {count} test images of {name} are correct, {published:.2f} % is published"
    if low <= published / 100 <= high:
        logger.info(text)
    else:
        logger.warning(
            f"{text}: other weights, statistics (pretrain.normalize), image size ({model.image_size}) "
            "or order of classes"
        )
    return {"head": {"dataset": name, "correct": correct, "images": count, "published": published / 100}}


def _test_images(name: str, data: DataConfig, classifier: Classifier) -> ImageDataset:
    from robust_transfer.data import open_dataset

    images = open_dataset(name, data.root, "test", verify=False)
    num_classes = len(images.class_names)
    if num_classes != classifier.num_classes:
        raise DataError(f"{num_classes} of its {classifier.num_classes} classes are on disk")
    return images


def _correct(
    classifier: Classifier, dataset: ImageDataset, model: ModelConfig, *, device: str
) -> tuple[int, int]:
    """Return how many of evenly spaced test images are correct, and how many were evaluated."""
    import torch

    from robust_transfer.data.loaders import subset_indices
    from robust_transfer.evaluation.images import read_parts

    correct = count = 0
    parts = read_parts(
        dataset,
        subset_indices(len(dataset), min(IMAGES, len(dataset))),
        image_size=model.image_size,
        whole_image=dataset.name in NATIVE,
        part_size=PART,
        num_workers=0,
    )
    for images in parts:
        with torch.no_grad():
            guesses = classifier(images[:].to(device)).argmax(1).cpu()
        correct, count = correct + int((guesses == images.labels).sum()), count + len(images)
    return correct, count
