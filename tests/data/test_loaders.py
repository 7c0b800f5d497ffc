"""Order, augmentation and slices of batches, against the keys they are a function of."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.transforms import transforms as tv
from torchvision.transforms.functional import pil_to_tensor

from replicas import BUILDERS, write_image
from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import open_dataset
from robust_transfer.data.loaders import (
    evaluation_batches,
    steps_per_epoch,
    subset_indices,
    training_batches,
)
from robust_transfer.data.transforms import eval_transform, train_transform
from robust_transfer.data.views import two_views

SEED = 7


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits", ".", "train", shots=3)  # 30 images: 4 batches of 7 an epoch


def batches(dataset, *, start=0, total=9, batch_size=7, **options):
    makers = options.pop("makers", (train_transform(12, "crop_flip"),))
    return list(
        training_batches(
            dataset,
            lambda epoch: makers,
            batch_size=batch_size,
            seed=SEED,
            start_step=start,
            total_steps=total,
            **options,
        )
    )


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.epoch == other.epoch and one.unreadable == other.unreadable
        assert torch.equal(one.indices, other.indices) and torch.equal(one.labels, other.labels)
        assert all(torch.equal(a, b) for a, b in zip(one.images, other.images, strict=True))


def test_batches_are_the_keyed_permutation_and_the_keyed_augmentation(digits):
    """Written again without the loader: one permutation an epoch, one key an image."""
    transform = tv.Compose([tv.RandomResizedCrop(12), tv.RandomHorizontalFlip(), pil_to_tensor])
    for step, batch in enumerate(batches(digits)):
        epoch = step // 4
        order = torch.randperm(30, generator=rng.generator(SEED, "order", epoch))
        assert batch.epoch == epoch
        assert torch.equal(batch.indices, order[(step % 4) * 7 : (step % 4 + 1) * 7])
        for row, position in enumerate(batch.indices.tolist()):
            image, label = digits[position]
            with rng.global_state(SEED, "augment", epoch, position, 0):
                expected = transform(image)
            assert torch.equal(batch.images[0][row], expected) and int(batch.labels[row]) == label


def test_start_in_the_middle_of_an_epoch_gives_the_same_batches(digits):
    whole = batches(digits)
    for start in (1, 4, 6):
        assert_same(batches(digits, start=start), whole[start:])


def test_number_of_workers_changes_nothing(digits):
    views = two_views(12, 1.0)
    whole = batches(digits, makers=views)
    assert len(whole[0].images) == 2 and not torch.equal(*whole[0].images)
    assert_same(batches(digits, makers=views, num_workers=2, start=2), whole[2:])


def test_processes_share_the_same_batches_by_turns(digits):
    whole = batches(digits, batch_size=6)
    parts = [batches(digits, batch_size=6, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert torch.equal(batch.indices[rank::3], part[step].indices)
            assert torch.equal(batch.images[0][rank::3], part[step].images[0])


def test_processes_that_do_not_divide_the_batch_are_refused_before_reading(digits):
    with pytest.raises(ConfigError, match="7 images is not divisible by 2"):
        training_batches(
            digits, lambda epoch: (), batch_size=7, seed=0, start_step=0, total_steps=1, rank=0, world_size=2
        )


def test_a_set_smaller_than_the_batch_is_one_batch_an_epoch(digits):
    read = batches(digits, batch_size=64, total=2)
    assert [sorted(batch.indices.tolist()) for batch in read] == [list(range(30))] * 2
    assert read[0].indices.tolist() != read[1].indices.tolist()
    assert [steps_per_epoch(n, 64) for n in (1, 63, 64, 127, 128)] == [1, 1, 1, 1, 2]


def test_loading_leaves_the_global_generator_alone(digits):
    before = torch.random.get_rng_state()
    batches(digits, total=2)
    batches(digits, total=2, num_workers=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_workers_run_one_thread_and_start_no_cuda(digits):
    def report(image):
        return torch.tensor([torch.get_num_threads(), int(torch.cuda.is_initialized())])

    for batch in evaluation_batches(digits, range(4), report, batch_size=2, num_workers=2):
        assert batch.images[0].tolist() == [[1, 0], [1, 0]]


def test_evaluation_keeps_the_order_that_is_asked_for(digits):
    order = [5, 0, 29, 17, 3]
    transform = eval_transform(12, whole=True)
    for num_workers in (0, 2):
        read = list(evaluation_batches(digits, order, transform, batch_size=2, num_workers=num_workers))
        assert [batch.indices.tolist() for batch in read] == [[5, 0], [29, 17], [3]]
        assert torch.equal(read[1].images[0][1], transform(digits[17][0]))
        assert read[2].labels.tolist() == [digits.labels[3]]


@pytest.mark.parametrize(
    ("num_images", "subset"), [(797, 500), (6149, 500), (10000, 500), (501, 500), (9, 1), (9, 2)]
)
def test_subset_is_exactly_that_many_evenly_spaced_images(num_images, subset):
    positions = subset_indices(num_images, subset)
    exact = [i * (num_images - 1) / max(subset - 1, 1) for i in range(subset)]
    assert len(set(positions)) == subset and positions == sorted(positions)
    assert np.abs(np.array(positions) - exact).max() <= 0.5
    assert positions[0] == 0 and (subset == 1 or positions[-1] == num_images - 1)


def test_subset_of_none_or_of_more_than_there_are_is_all():
    assert subset_indices(5, None) == subset_indices(5, 5) == subset_indices(5, 9) == [0, 1, 2, 3, 4]


# ------------------------------------------------------------- images that cannot be read


@pytest.fixture
def damaged(tmp_path):
    """Eight images of two classes, two of the first cut short."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            for i in range(4):
                write_image(tmp_path, f"{split}/{name}/{i}.jpg")
    for split in ("train", "test"):
        for i in (1, 2):
            file = tmp_path / f"{split}/a/{i}.jpg"
            file.write_bytes(file.read_bytes()[:300])
    return tmp_path


def test_what_workers_need_can_be_sent_to_them_where_processes_are_spawned(digits):
    """As on macOS and Windows: both loaders' readers survive the way, and read the same."""
    batches = evaluation_batches(digits, range(4), eval_transform(8), batch_size=2)
    reader = pickle.loads(pickle.dumps(batches._loader.dataset))
    requests = next(iter(batches._loader.batch_sampler))
    actual, expected = reader.__getitems__(requests), batches._loader.dataset.__getitems__(requests)
    assert all(torch.equal(a.views[0], b.views[0]) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_stop_names_the_file_in_one_line(damaged, num_workers):
    dataset = open_dataset("imagefolder", damaged, "train")
    with pytest.raises(DataError) as caught:
        batches(dataset, batch_size=8, num_workers=num_workers)
    assert "train/a/" in caught.value.what and "cannot be read" in caught.value.what
    assert "\n" not in caught.value.what and caught.value.hints


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skip_in_training_puts_the_next_of_the_class_in_place_and_lists_the_others(damaged, num_workers):
    dataset = open_dataset("imagefolder", damaged, "train", on_error="skip")
    (batch,) = batches(dataset, batch_size=8, total=1, num_workers=num_workers)
    # 1 and 2 cannot be read: 3 stands in for both, and the label is still theirs.
    assert sorted(batch.indices.tolist()) == [0, 3, 3, 3, 4, 5, 6, 7]
    assert sorted(batch.labels.tolist()) == [0] * 4 + [1] * 4
    assert sorted(set(batch.unreadable)) == [1, 2]


def test_skip_where_a_whole_class_is_unreadable_stops(damaged):
    for file in damaged.glob("train/a/*"):
        file.write_bytes(b"")
    dataset = open_dataset("imagefolder", damaged, "train", on_error="skip")
    with pytest.raises(DataError, match="no image of class 'a' can be read"):
        batches(dataset, batch_size=8)


def test_skip_in_evaluation_leaves_the_images_out_and_lists_them(damaged):
    dataset = open_dataset("imagefolder", damaged, "test", on_error="skip")
    read = list(evaluation_batches(dataset, [0, 1, 2, 1, 3], eval_transform(8), batch_size=2))
    assert [batch.indices.tolist() for batch in read] == [[0], [], [3]]
    assert [batch.unreadable for batch in read] == [(1,), (2, 1), ()]
    assert len(read[1].images[0]) == 0


def test_small_sets_are_read_from_memory(tmp_path):
    BUILDERS["cifar10"](tmp_path)
    dataset = open_dataset("cifar10", tmp_path, "train", verify=False)
    for file in (tmp_path / "cifar-10-batches-py").iterdir():
        file.unlink()
    assert dataset[len(dataset) - 1][0].size == (32, 32)


def test_the_catalogue_and_its_sources_import_no_torch():
    code = (
        "import sys; from robust_transfer.data import catalogue;"
        "few = catalogue.Selection(shots=5, validation_fraction=0.1);"
        "catalogue.missing('digits', '.', 'train', few);"
        "[catalogue.missing(n, '/nowhere', 'test') for n in catalogue.names()];"
        "import robust_transfer.data.status, robust_transfer.data.fetch, robust_transfer.data.check;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("num_images", "count"), [(6149, 512), (1880, 626), (10_000, 500), (8041, 502), (999, 999)]
)
def test_the_studys_rule_takes_every_so_many_images(num_images, count):
    """Its code walks over all images and keeps those whose number divides, int(N / step) of them."""
    step = num_images // 500
    walked = [i for i in range(num_images) if i % step == 0][: int(num_images / step)]
    assert subset_indices(num_images, 500, rule="skip") == walked and len(walked) == count
    assert len(subset_indices(num_images, 500)) == 500
    assert subset_indices(400, 500, rule="skip") == list(range(400))
