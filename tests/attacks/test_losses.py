import pytest
import torch

from robust_transfer.attacks import losses
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError

LOGITS = rng.normal((50, 7), 0, "logits")
LABELS = torch.arange(50) % 7
TARGETS = (LABELS + 1 + torch.arange(50) // 7 % 6) % 7


def sorted_down(row):
    return sorted(row.tolist(), reverse=True)


def test_dlr_is_its_formula():
    found = losses.dlr(LOGITS, LABELS, TARGETS)
    for row, label, value in zip(LOGITS, LABELS, found, strict=True):
        top = sorted_down(row)
        other = max(z for i, z in enumerate(row.tolist()) if i != label)
        assert float(value) == pytest.approx(-(float(row[label]) - other) / (top[0] - top[2]), rel=1e-4)


def test_dlr_targeted_is_its_formula():
    found = losses.dlr_targeted(LOGITS, LABELS, TARGETS)
    for row, label, target, value in zip(LOGITS, LABELS, TARGETS, found, strict=True):
        top = sorted_down(row)
        expected = -(float(row[label]) - float(row[target])) / (top[0] - (top[2] + top[3]) / 2)
        assert float(value) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["dlr", "dlr_targeted"])
def test_dlr_does_not_change_with_scale_and_shift(name):
    loss = losses.LOSSES[name]
    torch.testing.assert_close(
        loss(100 * LOGITS + 3, LABELS, TARGETS), loss(LOGITS, LABELS, TARGETS), rtol=1e-3, atol=1e-4
    )


def test_margin_is_positive_exactly_where_the_label_loses():
    assert torch.equal(losses.margin(LOGITS, LABELS) > 0, LOGITS.argmax(1) != LABELS)


@pytest.mark.parametrize(("loss", "num_classes"), [("dlr", 2), ("dlr_targeted", 3)])
def test_losses_refuse_too_few_classes(loss, num_classes):
    with pytest.raises(EvaluationError, match=f"{loss}.*found {num_classes}"):
        losses.check_classes(loss, num_classes)
    losses.check_classes(loss, num_classes + 1)


def test_an_unknown_loss_is_refused_with_the_nearest():
    with pytest.raises(EvaluationError, match="did you mean 'dlr'"):
        losses.check_name("dlrr")
