"""Switches of speed and memory in all pairs: what no plan refuses takes its steps, and the same ones."""

import math

import pytest
import torch

from pairs import pairs_in, pairs_of
from robust_transfer.core.errors import ConfigError
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import single
from robust_transfer.distributed.launch import launch
from small_training import lines, pixels, train
from training_jobs import make_runtime

SWITCHES = {
    "compile": (False, True),
    "activation_checkpointing": (False, True),
    "channels_last": (False, True),
    "micro_batch": (None, 4),
    "precision": ("fp32", "tf32", "bf16"),
    "devices": (1, 2),
    "sync_batchnorm": (True, False),
}
REFUSED = [{"compile": True, "activation_checkpointing": True}]
PLAIN = {name: values[0] for name, values in SWITCHES.items()}
ALONE = list(pairs_of(**{**SWITCHES, "compile": [False], "devices": [1]}))
TOGETHER = list(pairs_of(**{**SWITCHES, "compile": [False], "devices": [2]}))
# A compilation takes as long as all the others.
COMPILED = [
    {**PLAIN, "compile": True},
    {**PLAIN, "compile": True, "channels_last": True, "micro_batch": 4, "precision": "bf16"},
    {**PLAIN, "compile": True, "precision": "tf32", "devices": 2, "sync_batchnorm": False},
]
SIZE = 8


def test_every_pair_is_taken_or_refused():
    taken = set().union(*map(pairs_in, (*ALONE, *TOGETHER, *COMPILED)))
    pairs = set().union(*map(pairs_in, pairs_of(**SWITCHES)))
    assert pairs - taken == set().union(*map(pairs_in, REFUSED))
    for pair in REFUSED:
        with pytest.raises(ConfigError, match="=true with "):
            make_runtime(**pair).check("runtime")


def batches_of(context):
    def open_batches(first, last, *, num_views):
        for step in range(first, last):
            indices = torch.arange(step * SIZE, (step + 1) * SIZE)[context.rank :: context.world_size]
            images = torch.stack([pixels(int(i), 0) for i in indices])
            yield Batch((images,), indices % 3, indices, 0)

    return open_batches


def two_steps(folder, row, context):
    """Train for two steps and leave their losses."""
    changes = {name: row[name] for name in ("micro_batch", "precision")}
    train(
        "at",
        folder,
        batches=batches_of(context),
        context=context,
        runtime=make_runtime(**{name: value for name, value in row.items() if name not in changes}),
        batch_size=SIZE,
        max_steps=2,
        **changes,
    )


def each(root, rows, context):
    for number, row in enumerate(rows):
        two_steps(root / str(number), row, context)


def check(root, rows):
    """Compare the first losses with a plain run's of the same BatchNorm groups."""
    for micro in SWITCHES["micro_batch"]:
        two_steps(root / f"micro {micro}", {**PLAIN, "micro_batch": micro}, single("cpu"))
    for number, row in enumerate(rows):
        losses = [line["loss"] for line in lines(root / str(number))]
        assert len(losses) == 2 and all(map(math.isfinite, losses)), row
        # bf16 is another arithmetic, and what is not synchronised other groups
        if row["precision"] != "bf16" and (row["devices"] == 1 or row["sync_batchnorm"]):
            plain = lines(root / f"micro {row['micro_batch']}")[0]["loss"]
            assert losses[0] == pytest.approx(plain, rel=1e-2), row


def test_pairs_of_one_device(tmp_path):
    each(tmp_path, ALONE, single("cpu"))
    check(tmp_path, ALONE)


@pytest.mark.drill
def test_pairs_of_two_devices(tmp_path):
    launch(each, (tmp_path, TOGETHER), devices=2, device_kind="cpu", batch_size=SIZE)
    check(tmp_path, TOGETHER)


@pytest.mark.drill
@pytest.mark.parametrize("row", COMPILED, ids=lambda row: f"{row['precision']} {row['devices']}")
def test_pairs_with_compile(row, tmp_path):
    launch(each, (tmp_path, [row]), devices=row["devices"], device_kind="cpu", batch_size=SIZE)
    check(tmp_path, [row])
