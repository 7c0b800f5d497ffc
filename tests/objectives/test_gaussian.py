import torch
from torch.nn import functional

from linear_network import Plane, grey
from robust_transfer.core import rng
from robust_transfer.objectives import build, consistency_loss
from steps import one_step, whole
from training_jobs import make_method


def test_loss_is_the_cross_entropy_under_one_unclamped_draw_an_image():
    images, labels, model = grey(3), torch.tensor([0, 1, 1]), Plane()
    draw = rng.normal((3, 3, 2, 2), 0, "noise").double()
    objective = build(make_method("gaussian", sigma=0.7))
    loss, metrics = one_step(objective, model, whole(images, labels), lambda purpose, copy: draw)
    (seen,) = model.inputs
    assert torch.equal(seen, images + 0.7 * draw)
    assert seen.min() < 0 and seen.max() > 1
    logits = model(seen)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))
    torch.testing.assert_close(loss, consistency_loss(logits[None], labels, 0.0, 0.0))
    assert metrics["accuracy"] == (logits.argmax(1) == labels).float().mean()
