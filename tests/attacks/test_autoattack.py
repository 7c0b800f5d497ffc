"""AutoAttack: the union of its parts, independent of the batch, and what is left out is said."""

import sys

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autoattack, autopgd, threat
from robust_transfer.attacks.packaged import constant_shape, fab_point, square_point
from robust_transfer.core.errors import EvaluationError

pytest.importorskip("pyautoattack")

EPS = {"l2": 0.3, "linf": 0.02}
SHORT = {"num_steps": 10, "num_queries": 30, "batch_size": 16}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_robust_is_robust_to_every_part(norm, model, images, labels):
    setting = {"norm": norm, "eps": EPS[norm], "batch_size": 16}
    found = autoattack(model, images, labels, num_steps=20, num_queries=100, **setting)
    ce = autopgd(model, images, labels, num_steps=20, **setting)
    targeted = autopgd(model, images, labels, num_steps=20, loss="dlr_targeted", guards="off", **setting)
    clean = model(images).argmax(1) == labels
    assert not (found.robust & ~(ce.robust & targeted.robust)).any()
    names = found.broken_by
    assert [name == "clean" for name in names] == (~clean).tolist()
    assert [name == "apgd-ce" for name in names] == (clean & ~ce.robust).tolist()
    assert [name == "apgd-t" for name in names] == (ce.robust & ~targeted.robust).tolist()
    assert [name == "" for name in names] == found.robust.tolist()
    assert 0 < int(found.robust.sum()) < int(clean.sum())
    # The point that is handed out shows it: in the ball, in the box, and wrong.
    assert (threat.distances(found.images, images, norm=norm) <= EPS[norm] * (1 + 1e-5)).all()
    assert found.images.min() >= 0 and found.images.max() <= 1
    again = model(found.images).argmax(1)
    broken = clean & ~found.robust
    assert (again[broken] != labels[broken]).all() and torch.equal(again, found.adversarial_prediction)
    survivors = found.gradient_steps[found.robust]
    assert (survivors == 21 + 5 * 21 + 5 * 20).all()


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("L2", 0.3), ("L1", 2.0)])
def test_the_published_package_agrees(norm, eps, model, images, labels):
    """Its own standard version, its own seeds: the same images are robust."""
    from pyautoattack import AutoAttack

    peer = AutoAttack(model, norm=norm, eps=eps, seed=0, version="standard")
    peer.verbose = False
    peer.square.n_queries = 60
    peer.apgd_targeted.n_target_classes = peer.fab.n_target_classes = 5  # of 6 classes
    images, labels = images[:20], labels[:20]
    adversarial, _ = peer.run_standard_evaluation(images, labels, batch_size=20)
    with torch.no_grad():
        expected = (model(adversarial).argmax(1) == labels) & (model(images).argmax(1) == labels)
    found = autoattack(model, images, labels, norm=norm.lower(), eps=eps, num_queries=60, batch_size=16)
    differs = found.robust != expected
    assert not (differs & ~found.near_tie).any() and 0 < int(expected.sum()) < 17


class Masked(nn.Module):
    """A model whose gradient points nowhere useful, so that only a search without gradients breaks it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        logits = self.model(images)
        false = 1e-3 * images.flatten(1)[:, :6]
        return logits.detach() + false - false.detach()


def test_square_breaks_what_masks_its_gradient_and_that_is_flagged(model, images, labels):
    setting = {"eps": 0.6, "batch_size": 40, "num_steps": 5, "num_queries": 100}
    found = autoattack(Masked(model), images, labels, guards="off", **setting)
    honest = autoattack(model, images, labels, **setting)
    by_square = found.broken_by.count("square")
    assert by_square >= 3 and honest.broken_by.count("square") <= 1
    assert any(
        flag == f"black_box: Square broke {by_square} of 40 images that withstood every gradient attack"
        for flag in found.flags
    )


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_square_is_the_same_alone_and_among_others(norm, model, images, labels):
    setting = {"norm": norm, "eps": 3 * EPS[norm], "num_queries": 60, "seed": 3}
    chosen = (model(images).argmax(1) == labels).nonzero().flatten()[:6]
    predict = constant_shape(model, 8, "one")
    with torch.no_grad():
        together = square_point(predict, images[chosen], labels[chosen], index=chosen.tolist(), **setting)
        for k, name in enumerate(chosen.tolist()):
            alone = square_point(
                predict, images[chosen[k : k + 1]], labels[chosen[k : k + 1]], index=[name], **setting
            )
            assert torch.equal(alone[0], together[k])
        reordered = square_point(
            predict, images[chosen.flip(0)], labels[chosen.flip(0)], index=chosen.flip(0).tolist(), **setting
        )
        assert torch.equal(reordered.flip(0), together)
        others = square_point(
            predict, images[chosen], labels[chosen], index=chosen.tolist(), **{**setting, "seed": 4}
        )
    left = (model(together).argmax(1) != labels[chosen]).sum()
    assert left > 0, "images must leave the batch for the test to say something"
    assert not torch.equal(others, together)


def test_fab_finds_the_nearest_point_of_a_linear_model(images):
    """Closed form: the distance to the boundary between two classes is |margin| / ||w_1 - w_2||."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    few = 0.25 + images[:6] / 2  # away from the faces of the box
    with torch.no_grad():
        linear[1].bias.copy_(-(linear[1].weight @ few.flatten(1).T).mean(1))
    logits = linear(few)
    labels = logits.argmax(1)
    weights = linear[1].weight[0] - linear[1].weight[1]
    expected = (logits[:, 0] - logits[:, 1]).abs().double() / weights.norm().double()
    with torch.no_grad():
        found = fab_point(
            constant_shape(linear, 8, "one"), few, labels, norm="l2", eps=5.0, num_steps=20, rank=2
        )
    assert (linear(found).argmax(1) != labels).all()
    reached = threat.distances(found, few, norm="l2")
    assert (reached >= expected * (1 - 1e-5)).all() and (reached <= 1.1 * expected).all()


def test_a_part_of_the_images_gives_the_same_rows(model, images, labels):
    names = torch.arange(40)
    whole = autoattack(model, images, labels, eps=0.3, **SHORT)
    part = autoattack(model, images[25:], labels[25:], eps=0.3, index=names[25:], **SHORT)
    assert whole.broken_by[25:] == part.broken_by
    assert torch.equal(whole.gradient_steps[25:], part.gradient_steps)


def test_three_classes_leave_the_targeted_loss_out_and_say_so(images):
    three = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    labels = three(images).argmax(1)
    found = autoattack(three, images, labels, eps=0.05, **SHORT)
    assert "few_classes: apgd-t needs 4 classes (found 3) and was left out" in found.flags
    assert "apgd-t" not in found.broken_by
    assert any(flag.startswith("not_standard: 10 steps, 30 queries") for flag in found.flags)


def test_the_model_comes_back_as_it_was_given(model, images, labels):
    model[1].train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    autoattack(model, images, labels, eps=0.3, **SHORT)
    assert model[1].training and not model[0].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_without_the_package_one_line_says_what_to_install(model, images, labels, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack.fab_pt", None)
    with pytest.raises(EvaluationError) as caught:
        autoattack(model, images, labels, **SHORT)
    assert str(caught.value).splitlines() == [
        "autoattack needs the package pyautoattack",
        "  pip install 'robust-transfer[autoattack]'",
    ]


def test_records_say_what_each_attack_did(model, images, labels):
    found = autoattack(model, images, labels, eps=0.3, **SHORT)
    assert [record.name for record in found.attacks] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    left = int((found.clean_prediction == labels).sum())
    for name, attacked, broken in found.attacks:
        assert attacked == left and broken == found.broken_by.count(name)
        left -= broken
    assert left == int(found.robust.sum())
    assert found.record["largest_distance"] == float(found.distance.max())
    assert found.record["num_near_ties"] == int(found.near_tie.sum())


def test_a_list_of_one_attack_is_that_attack(model, images, labels):
    found = autoattack(model, images, labels, eps=0.3, version=["apgd-dlr"], **SHORT)
    alone = autopgd(model, images, labels, eps=0.3, loss="dlr", num_steps=SHORT["num_steps"], batch_size=16)
    same = ~(found.near_tie | alone.near_tie)
    assert torch.equal(found.robust[same], alone.robust[same])
    assert set(found.broken_by) == {"", "clean", "apgd-dlr"}
    assert any(flag == "not_standard: version apgd-dlr" for flag in found.flags)


@pytest.mark.slow
def test_plus_breaks_whatever_the_standard_version_breaks(model, images, labels):
    kwargs = {**SHORT, "shapes": "one", "guards": "off"}
    standard, plus = (
        autoattack(model, images[:16], labels[:16], eps=0.15, version=version, **kwargs)
        for version in ("standard", "plus")
    )
    assert not (plus.robust & ~standard.robust).any() and plus.robust.any()
    names = [record.name for record in plus.attacks]
    assert names == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    again = autoattack(model, images[3:9], labels[3:9], eps=0.15, version="plus", index=range(3, 9), **kwargs)
    assert again.broken_by == plus.broken_by[3:9]


@pytest.mark.slow
def test_rand_measures_expected_accuracy(images):
    class Flips(nn.Module):
        def forward(self, x):
            logits = torch.tensor([4.0, 0, 0, 0]) + 1e-3 * x.flatten(1)[:, :4]
            return torch.where(torch.rand(len(x), 1) < 0.1, logits.roll(1, 1), logits)

    zeros = torch.zeros(10, dtype=torch.int64)
    found = autoattack(Flips(), images[:10], zeros, eps=0.01, version="rand", num_steps=2)
    assert abs(float(found.robust.mean()) - 0.9) < 0.05
    with pytest.raises(EvaluationError, match=r"^randomised:"):
        autoattack(Flips(), images[:10], zeros, eps=0.01, num_steps=2, num_queries=5)


@pytest.mark.parametrize("version", ["standart", ["apgd-ce", "fap"], [], ["square", "square"]])
def test_versions_that_do_not_exist_are_refused(version, model, images, labels):
    with pytest.raises(EvaluationError, match=r"^version:"):
        autoattack(model, images, labels, version=version, **SHORT)


def test_few_images_left_cost_few_forwards(model, images, labels):
    """Square's queries on the last images are not paid for a whole batch."""
    sizes = []
    model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    kwargs = {"eps": 0.05, "num_steps": 5, "num_queries": 100, "guards": "off"}
    autoattack(model, images[:4], labels[:4], **kwargs)
    assert sum(sizes) < 4 * (100 + 6 * 12 + 5 * 5 * 6)
