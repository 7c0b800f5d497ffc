"""Votes however packed, against votes counted in NumPy from the same noise."""

import numpy as np
import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.modes import eval_mode
from robust_transfer.smoothing.counts import Unit
from robust_transfer.smoothing.sampling import iter_votes, plain_votes

SIGMA = 0.5
UNITS = [Unit(0, 40, 0, 300), Unit(1, 7, 0, 100), Unit(2, 8, 500, 700), Unit(0, 40, 300, 400)]


@pytest.fixture(scope="module")
def images():
    return torch.rand((3, 3, 8, 8), generator=rng.generator(0, "images"))


@pytest.fixture(scope="module")
def net():
    with rng.global_state(0, "init"):
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)]
        return nn.Sequential(*layers).eval()


def count(model, images, units, **settings):
    with eval_mode(model):
        return list(iter_votes(model, images, units, sigma=SIGMA, seed=5, purpose="estimate", **settings))


def dense(counts):
    return np.array([counts.votes[name] for name in range(counts.num_classes)])


class Rows(nn.Module):
    """Logits chosen by a function of each image's mean."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self, images):
        return torch.stack([torch.tensor(self.rows(x.mean().item())) for x in images])


def test_counts_are_those_of_numpy_on_the_same_noise(net, images):
    found = count(net, images, UNITS)
    for unit, votes in zip(UNITS, found, strict=True):
        blocks = range(unit.start // 100, unit.stop // 100)
        noise = torch.cat(
            [rng.normal((100, 3, 8, 8), 5, "certify", unit.index, counter=b) for b in blocks]
        ).numpy()
        noisy = images[unit.image].numpy() + np.float32(SIGMA) * noise
        logits = net(torch.from_numpy(noisy)).detach().numpy()
        expected = np.bincount(logits.argmax(1), minlength=4)
        assert np.abs(expected - dense(votes)).sum() <= 2 * votes.near_ties
        assert votes.votes.total() + votes.ties + votes.nonfinite == unit.stop - unit.start
        gaps = np.diff(np.sort(logits, axis=1))[:, -1]
        assert abs(votes.near_ties - (gaps <= np.abs(logits).max(1) / 2**16).sum()) <= 1


@pytest.mark.parametrize("batch_size", [1, 7, 64, 250, 1000])
def test_the_batch_size_changes_no_count_beyond_near_ties(net, images, batch_size):
    for a, b in zip(count(net, images, UNITS), count(net, images, UNITS, batch_size=batch_size), strict=True):
        assert np.abs(dense(a) - dense(b)).sum() <= 2 * max(a.near_ties, b.near_ties)


@pytest.mark.parametrize("batch_size", [100, 64])
def test_order_and_shards_change_nothing(net, images, batch_size):
    units = [Unit(i, 10 + i, 100 * b, 100 * b + 100) for i in range(3) for b in range(4)]
    expected = dict(zip(units, count(net, images, units, batch_size=batch_size), strict=True))
    order = np.random.default_rng(0).permutation(len(units))
    shards = [[units[i] for i in order[rank::4]] for rank in range(4)]
    found = {}
    for shard in shards:
        found |= dict(zip(shard, count(net, images, shard, batch_size=batch_size), strict=True))
    assert found == expected


def test_a_range_is_the_sum_of_its_parts(net, images):
    (whole,) = count(net, images, [Unit(1, 3, 0, 400)])
    parts = count(net, images, [Unit(1, 3, 0, 100), Unit(1, 3, 100, 400)])
    assert whole == parts[0] + parts[1]


def test_every_forward_has_one_shape_and_only_the_last_is_padded(images):
    sizes = []

    class Watch(nn.Module):
        def forward(self, batch):
            sizes.append(len(batch))
            return batch.flatten(1)[:, :2]

    count(Watch(), images, UNITS, batch_size=64)
    assert sizes == [64] * 11  # 700 samples


def test_units_are_read_and_answered_one_by_one(net, images):
    read = []

    def units():
        for unit in UNITS:
            read.append(unit)
            yield unit

    stream = iter_votes(net, images, units(), sigma=SIGMA, seed=5, purpose="estimate")
    next(stream)
    assert len(read) == 1 and torch.is_grad_enabled()


def test_ties_and_nonfinite_rows_vote_for_no_class(images):
    """Half of the samples tie, a quarter is NaN or infinite: nobody gets their votes."""

    def rows(mean):
        kind = int(abs(mean) * 1e6) % 8
        if kind < 4:
            return [2.0, 1.0, 2.0]
        return [[0.0, float("nan"), 1.0], [0.0, 0.0, float("inf")], [0.0, 1.0, 1.00001], [0.0, 5.0, 1.0]][
            kind - 4
        ]

    (votes,) = count(Rows(rows), images, [Unit(0, 0, 0, 400)])
    assert 0 not in votes.votes and votes.votes[1] > 0 and votes.votes[2] > 0
    assert 150 < votes.ties < 250 and 60 < votes.nonfinite < 140
    assert votes.near_ties == votes.ties + votes.votes[2]
    assert votes.votes.total() + votes.ties + votes.nonfinite == 400
    assert votes.top == (1 if votes.votes[1] >= votes.votes[2] else 2)


@pytest.mark.parametrize("mask", [-100.0, -1e9, -float("inf")])
@pytest.mark.parametrize("classes", [(3,), (0, 2), (1, 2, 3)])
def test_masked_classes_get_no_votes_and_no_near_ties(net, images, mask, classes):
    """Else a redraw would have room for every vote."""

    class Masked(nn.Module):
        def forward(self, batch):
            logits = net(batch).clone()
            logits[:, classes] = mask
            return logits

    [plain], [masked] = (count(model, images, [Unit(0, 0, 0, 400)]) for model in (net, Masked()))
    left = sorted({0, 1, 2, 3} - set(classes))
    assert set(masked.votes) <= set(left) and masked.votes.total() == 400 and masked.nonfinite == 0
    assert all(masked.votes[name] >= plain.votes[name] for name in left)
    assert masked.near_ties <= plain.near_ties + 4


def test_bfloat16_logits_are_compared_as_they_are(images):
    class Low(nn.Module):
        def forward(self, batch):
            return torch.tensor([[1.0, 1.001]]).repeat(len(batch), 1).bfloat16()

    (votes,) = count(Low(), images, [Unit(0, 0, 0, 100)])
    assert votes.ties == 100 and votes.top == -1


def test_modes_and_buffers_are_given_back_exactly(images):
    with rng.global_state(0, "init"):
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
        )
    model.train()
    model[1].eval()
    flags = [m.training for m in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = count(model, images, UNITS)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert found == count(model.eval(), images, UNITS)


def test_a_model_in_train_mode_is_refused_by_the_stream(net, images):
    net.train()
    try:
        with pytest.raises(EvaluationError, match="train mode"):
            next(iter_votes(net, images, UNITS, sigma=SIGMA, seed=0, purpose="estimate"))
    finally:
        net.eval()


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (torch.full((3, 8, 8), 1.01), "values in [1.01, 1.01]"),
        (torch.full((3, 8, 8), -0.01), "expected [0, 1]"),
        (torch.full((3, 8, 8), float("nan")), "values in [nan, nan]"),
        (torch.zeros((3, 8, 8), dtype=torch.uint8), "torch.uint8"),
        (torch.zeros((1, 3, 8, 8)), "shape (1, 3, 8, 8)"),
        (torch.zeros((3, 0, 8)), "shape (3, 0, 8)"),
    ],
)
def test_what_is_no_image_is_refused(net, image, found):
    with pytest.raises(EvaluationError) as caught:
        count(net, [image], [Unit(0, 0, 0, 100)])
    assert found in str(caught.value)


def test_images_of_two_shapes_are_refused(net):
    images = [torch.zeros(3, 8, 8), torch.zeros(1, 8, 8)]
    with pytest.raises(EvaluationError, match="expected one"):
        count(nn.Flatten(), images, [Unit(0, 0, 0, 100), Unit(1, 1, 0, 100)], batch_size=64)


@pytest.mark.parametrize("model", [nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(192, 1))])
def test_an_output_that_is_no_row_of_logits_is_refused(model, images):
    with pytest.raises(EvaluationError, match="K >= 2"):
        count(model, images, UNITS)


def test_plain_votes_are_the_predictions(net, images):
    expected = net(images).argmax(1).tolist()
    for batch_size in (1, 2, 3, 8):
        found = plain_votes(net, images, batch_size=batch_size)
        assert [votes.top for votes in found] == expected and all(v.votes.total() == 1 for v in found)
