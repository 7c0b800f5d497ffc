import pytest
import torch
from torch import nn

from robust_transfer.attacks import apgd, autopgd, pgd, threat
from robust_transfer.core.errors import EvaluationError


class Recorder(nn.Module):
    """Counts forward passes and remembers their shapes."""

    def __init__(self, model):
        super().__init__()
        self.model, self.sizes = model, []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.model(images)


def test_every_attack_pass_has_the_shape_of_the_batch(model, images, labels):
    fast = Recorder(model)
    kwargs = {"eps": 0.3, "num_steps": 20, "batch_size": 12, "guards": "off"}
    result = autopgd(model, images, labels, shapes="one", gradient_model=fast, **kwargs)
    assert set(fast.sizes) == {12}
    assert 12 * len(fast.sizes) >= int(result.gradient_steps.sum())


@pytest.mark.parametrize(("count", "eps"), [(33, 0.01), (40, 0.2), (40, 0.5)])
def test_padding_is_at_most_a_fifth(model, images, labels, count, eps):
    """Nobody falls, some do, nearly all do; the default batch is larger than all images together."""
    fast = Recorder(model)
    with torch.no_grad():
        labels = model(images).argmax(1)
    result = autopgd(
        model, images[:count], labels[:count], eps=eps, num_steps=20, guards="off", gradient_model=fast
    )
    needed = int(result.gradient_steps.sum())
    assert needed <= sum(fast.sizes) <= 1.25 * needed
    assert max(fast.sizes) <= 1.25 * count


def test_four_images_are_not_filled_up_to_a_batch(model, images, labels, monkeypatch):
    """Guards and all: 128 slots for four images would cost a hundred times as much, in memory too."""
    slots, steps = [], apgd.AutoSteps.__init__

    def build(rule, settings, batch):
        slots.append(len(batch))
        steps(rule, settings, batch)

    monkeypatch.setattr(apgd.AutoSteps, "__init__", build)
    counted = Recorder(model)
    result = autopgd(counted, images[1:5], labels[1:5], eps=0.01, num_steps=20)
    assert sum(counted.sizes) - int(result.gradient_steps.sum()) < 200
    assert slots == [4]


@pytest.mark.parametrize("eps", [0.3, 0.15])
def test_an_image_ends_at_the_same_bits_alone_and_in_the_queue(model, images, labels, eps):
    """Three slots for forty images: whatever a slot remembers of the image before would show."""
    kwargs = {"eps": eps, "num_steps": 40, "batch_size": 3, "shapes": "one", "guards": "off"}
    whole = autopgd(model, images, labels, **kwargs)
    for i in range(0, 40, 2):
        one = autopgd(model, images[i : i + 1], labels[i : i + 1], index=[i], **kwargs)
        assert torch.equal(one.images[0], whole.images[i]), i
        assert one.gradient_steps[0] == whole.gradient_steps[i]


def test_the_ladder_changes_no_flag_but_near_ties(model, images, labels):
    kwargs = {"eps": 0.3, "num_steps": 30, "batch_size": 32, "guards": "off"}
    ladder, one = (autopgd(model, images, labels, shapes=shapes, **kwargs) for shapes in ("ladder", "one"))
    same = ~(ladder.near_tie | one.near_tie)
    assert torch.equal(ladder.robust[same], one.robust[same]) and same.float().mean() > 0.8


def test_images_outside_the_ball_are_never_handed_out(model, images, labels, monkeypatch):
    monkeypatch.setattr(threat, "tighten", lambda points, centers, **ball: centers + 2 * (points - centers))
    with pytest.raises(EvaluationError, match=r"^distance:"):
        autopgd(model, images, labels, eps=0.3, num_steps=5, batch_size=16)


def test_hits_are_judged_in_exact_products(model, images, labels):
    """bf16 inside oneDNN's products, asked for process-wide, reaches no forward of the unmodified model."""
    seen = set()

    def precisions(module, args):
        seen.add((torch.backends.mkldnn.matmul.fp32_precision, torch.backends.mkldnn.conv.fp32_precision))

    flags = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    before = [flag.fp32_precision for flag in flags]
    model.register_forward_pre_hook(precisions)
    try:
        for flag in flags:
            flag.fp32_precision = "bf16"
        autopgd(model, images[:8], labels[:8], eps=0.3, num_steps=2, batch_size=8, guards="off")
    finally:
        for flag, precision in zip(flags, before, strict=True):
            flag.fp32_precision = precision
    assert seen == {("ieee", "ieee")}


def test_waiting_images_take_the_places_of_fooled_ones(images):
    """Half the images fall at the start: their places must serve the others, not idle to the end."""
    steps, batch = 30, 4

    class HalfStubborn(nn.Module):
        def forward(self, x):
            level = x.mean((1, 2, 3))
            stubborn = x[:, 0, 0, 0] > 0.5
            return torch.stack(
                [torch.where(stubborn, 10 + level, 0.501 - level), level - level.detach() * 0], 1
            )

    grey = torch.full((16, 3, 4, 4), 0.45)
    grey[::2, 0, 0, 0] = 0.9
    fast = Recorder(HalfStubborn())
    labels = torch.zeros(16, dtype=torch.int64)
    result = pgd(
        fast.model, grey, labels, norm="linf", eps=0.1, step_size=0.1, num_steps=steps, random_start=False,
        batch_size=batch, guards="off", gradient_model=fast,
    )  # fmt: skip
    assert result.robust.tolist() == [True, False] * 8
    whole_batches = 4 * (steps + 1)
    assert len(fast.sizes) < 0.7 * whole_batches
    assert batch * len(fast.sizes) <= 1.3 * int(result.gradient_steps.sum())


def test_hits_the_unmodified_model_denies_stay_in_the_batch(model, images, labels):
    """A gradient model that calls everything wrong makes nothing count as broken that is not."""

    class Alarmist(nn.Module):
        def forward(self, x):
            logits = model(x)
            return logits - 100 * nn.functional.one_hot(logits.argmax(1), logits.shape[1])

    kwargs = {"eps": 0.3, "num_steps": 10, "batch_size": 16, "guards": "off"}
    result = autopgd(model, images, labels, gradient_model=Alarmist(), **kwargs)
    with torch.no_grad():
        assert torch.equal(
            result.robust, (model(result.images).argmax(1) == labels) & (model(images).argmax(1) == labels)
        )
    assert result.robust.any() and (result.gradient_steps[result.robust] == 11).all()


def test_the_best_point_is_judged_by_the_unmodified_model(model, images, labels):
    """A gradient model that sees no hit at all cannot make a broken image robust."""

    class Blind(nn.Module):
        def forward(self, x):
            logits = model(x)
            return logits + 1000 * nn.functional.one_hot(self.truth(x), logits.shape[1])

        def truth(self, x):
            nearest = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
            return labels[nearest]

    kwargs = {"eps": 0.3, "num_steps": 20, "batch_size": 16, "guards": "off", "loss": "dlr"}
    result = autopgd(model, images, labels, gradient_model=Blind(), **kwargs)
    clean = result.clean_prediction == labels
    assert (clean & ~result.robust).any()


def test_outcomes_told_early_are_those_of_the_end_and_each_is_told_once(model, images, labels):
    told = {}

    def finalised(positions, part):
        for i, position in enumerate(positions):
            assert position not in told
            row = (part.robust, part.adversarial_prediction, part.distance, part.loss, part.gradient_steps)
            told[position] = [column[i].item() for column in row] + [part.images[i]]

    result = autopgd(model, images, labels, eps=0.3, num_steps=20, batch_size=6, on_finalised=finalised)
    final = (
        result.robust,
        result.adversarial_prediction,
        result.distance,
        result.loss,
        result.gradient_steps,
    )
    for position, row in told.items():
        assert row[:-1] == [column[position].item() for column in final]
        assert torch.equal(row[-1], result.images[position])
    attacked = set((result.clean_prediction == labels).nonzero().flatten().tolist())
    assert set(told) < attacked and len(told) > len(attacked) / 2
    assert {bool(result.robust[p]) for p in told} == {True, False}


def test_the_surest_images_enter_first_and_the_order_changes_no_outcome(model, images, labels):
    """With a batch of one, images are attacked in the order of the queue."""
    order = []

    def finalised(positions, part):
        order.extend(positions)

    with torch.no_grad():
        logits = model(images).double()
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    sureness = logits.gather(1, labels[:, None])[:, 0] - others
    result = autopgd(model, images, labels, eps=0.3, num_steps=8, batch_size=1, on_finalised=finalised)
    assert order == sorted(order, key=lambda position: -sureness[position]) and len(order) > 5
    backwards = torch.arange(len(images)).flip(0)
    same = autopgd(
        model, images[backwards], labels[backwards], eps=0.3, num_steps=8, batch_size=1, index=backwards
    )
    assert torch.equal(same.images[backwards], result.images)
