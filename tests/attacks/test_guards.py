"""Every guard against a model or a set of images that falls into its trap."""

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autopgd, pgd
from robust_transfer.attacks.checks import inputs as checks
from robust_transfer.attacks.state import is_near_tie
from robust_transfer.core.errors import EvaluationError

BRIEF = {"eps": 0.3, "num_steps": 4, "batch_size": 16}


class Wrapped(nn.Module):
    """A model behind a function of images, and before one of logits."""

    def __init__(self, model, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, images):
        return self.after(self.model(self.before(images)))


def refused(model, images, labels, guard, **kwargs):
    with pytest.raises(EvaluationError, match=f"^{guard}:") as caught:
        autopgd(model, images, labels, **{**BRIEF, **kwargs})
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_a_healthy_model_passes_without_a_flag(model, images, labels):
    for guards_level in ("fast", "off"):
        assert autopgd(model, images, labels, guards=guards_level, **BRIEF).flags == []


@pytest.mark.parametrize("change", [lambda x: x * 255, lambda x: (x - 0.45) / 0.22])
def test_images_of_another_range_are_refused(change, model, images, labels):
    refused(model, change(images), labels, "images")


def test_bytes_are_refused(model, images, labels):
    assert "255" in refused(model, (images * 255).byte(), labels, "images")


def test_images_divided_twice_and_constant_images_are_flagged(model, images, labels):
    [flag] = autopgd(model, images / 255, labels, **BRIEF).flags
    assert "divided by 255 twice" in flag
    grey = images.clone()
    grey[3] = 0.5
    assert autopgd(model, grey, labels, **BRIEF).flags == ["images: 1 of 40 are constant"]


def test_not_a_number_pixels_are_refused_by_name_of_the_image(model, images, labels):
    broken = images.clone()
    broken[4, 0, 0, 0] = torch.nan
    assert "image 104" in refused(model, broken, labels, "nonfinite", index=torch.arange(40) + 100)


def test_not_a_number_logits_are_refused(model, images, labels):
    message = refused(Wrapped(model, after=lambda z: z * torch.nan), images, labels, "nonfinite")
    assert "image 0" in message


def test_numbers_that_break_only_under_attack_are_refused(model, images, labels):
    """Logits fine on clean images, infinite on any that has moved: never counted either way."""
    clean = {tuple(image.flatten().tolist()) for image in images}

    class Brittle(nn.Module):
        def forward(self, x):
            known = torch.tensor([tuple(i.flatten().tolist()) in clean for i in x])
            return torch.where(known.view(-1, 1), model(x), torch.inf)

    with pytest.raises(EvaluationError, match=r"^nonfinite:"):
        autopgd(Brittle(), images, labels, guards="off", **BRIEF)


@pytest.mark.parametrize("wrong", [-1, 6, 100])
def test_labels_out_of_range_are_refused(wrong, model, images, labels):
    labels = labels.clone()
    labels[2] = wrong
    for level in ("fast", "off"):
        assert "expected 0 to 5" in refused(model, images, labels, "labels", guards=level)


def test_labels_of_another_shape_or_type_are_refused(model, images, labels):
    refused(model, images, labels[:-1], "labels")
    refused(model, images, labels.float(), "labels")


def test_probabilities_are_refused(model, images, labels):
    refused(Wrapped(model, after=lambda z: z.softmax(1)), images, labels, "probabilities")


def test_log_probabilities_are_logits(model, images, labels):
    after = Wrapped(model, after=lambda z: z.log_softmax(1))
    kwargs = {**BRIEF, "num_steps": 20}
    assert torch.equal(
        autopgd(after, images, labels, **kwargs).robust, autopgd(model, images, labels, **kwargs).robust
    )


def test_targeted_dlr_on_three_classes_is_refused_in_one_line(model, images, labels):
    three = Wrapped(model, after=lambda z: z[:, :3])
    with pytest.raises(EvaluationError, match=r"compares 4 logits.*found 3"):
        autopgd(three, images, labels % 3, loss="dlr_targeted", **BRIEF)
    with pytest.raises(EvaluationError, match=r"compares 3 logits.*found 2"):
        pgd(Wrapped(model, after=lambda z: z[:, :2]), images, labels % 2, loss="dlr")


def test_moving_buffers_are_refused_and_set_back(images, labels):
    """Statistics that move in eval mode, as of a normalisation written by hand."""

    class Drifting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
            self.register_buffer("mean", torch.zeros(1))

        def forward(self, x):
            self.mean.lerp_(x.mean().detach().view(1), 0.1)
            return self.net(x - self.mean)

    model = Drifting()
    assert "'mean'" in refused(model, images, labels, "state")
    assert not model.mean.any()


class Forgetful(nn.BatchNorm2d):
    """BatchNorm that takes batch statistics whatever its mode, and keeps no others."""

    def forward(self, x):
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


def test_batch_statistics_are_refused(model, images, labels):
    model[1] = Forgetful(6)
    refused(model, images, labels, "batch")


def test_train_mode_is_left_for_the_call(model, images, labels):
    """Batch statistics would answer, and move: the attack sees eval mode, train mode comes back."""
    expected = autopgd(model, images, labels, **BRIEF)
    model.train()
    found = autopgd(model, images, labels, **BRIEF)
    assert model.training and torch.equal(found.images, expected.images) and found.flags == []


def test_randomised_models_are_refused_unless_averaged(model, images, labels):
    class SprinkledNoise(nn.Module):
        def forward(self, x):
            return x + 0.05 * torch.randn_like(x)

    noisy = nn.Sequential(SprinkledNoise(), model)
    assert "num_eot" in refused(noisy, images, labels, "randomised")
    result = autopgd(noisy, images[:4], labels[:4], num_eot=20, eps=0.3, num_steps=1, batch_size=4)
    assert result.flags[0].startswith("randomised:") and "through 0" in result.flags[0]


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: torch.from_numpy(x.detach().numpy())])
@pytest.mark.parametrize("level", ["fast", "off"])
def test_a_detached_input_is_refused(cut, level, model, images, labels):
    refused(Wrapped(model, before=cut), images, labels, "gradient", guards=level)


def test_inference_mode_is_refused(model, images, labels):
    with torch.inference_mode(), pytest.raises(EvaluationError, match=r"^inference_mode:"):
        autopgd(model, images, labels, **BRIEF)


def test_rounding_is_refused_and_names_bpda(model, images, labels):
    rounded = Wrapped(model, before=lambda x: (x * 255).round() / 255)
    assert "BPDA" in refused(rounded, images, labels, "zero_gradient")


class WrongWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def test_a_false_gradient_is_refused(model, images, labels):
    refused(Wrapped(model, before=WrongWay.apply), images, labels, "gradient")


def test_a_gradient_model_of_another_function_is_refused(model, images, labels):
    other = Wrapped(model, after=lambda z: -z)
    refused(model, images, labels, "gradient", gradient_model=other)


def test_optimisation_inside_forward_is_refused(model, images, labels):
    def purify(x):
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(leaf).logsumexp(1).sum(), leaf)
        return x + 0.01 * gradient

    refused(Wrapped(model, before=purify), images, labels, "autograd_in_forward")
    assert torch.autograd.grad.__module__ == "torch.autograd", "what watched is gone"


@pytest.mark.filterwarnings("ignore:In CPU autocast")
def test_autocast_is_flagged_and_hits_are_judged_without(model, images, labels):
    expected = autopgd(model, images, labels, **BRIEF)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = autopgd(model, images, labels, **BRIEF)
    assert [flag.split(":")[0] for flag in found.flags] == ["autocast"]
    assert torch.equal(found.images, expected.images) and torch.equal(found.loss, expected.loss)


def test_a_ball_as_large_as_the_box_is_flagged(model, images, labels):
    assert checks.check_eps("l2", 14.0, images)[0].startswith("eps:") and not checks.check_eps(
        "l2", 13.0, images
    )
    assert checks.check_eps("linf", 1.0, images) and not checks.check_eps("linf", 0.9, images)


def test_distances_beyond_eps_are_refused():
    distances = torch.tensor([0.5, 0.5 * (1 + 2e-5)], dtype=torch.float64)
    with pytest.raises(EvaluationError, match=r"^distance: 1 images.*image 8"):
        checks.check_distances(distances, eps=0.5, index=torch.tensor([7, 8]))
    checks.check_distances(distances, eps=0.50001, index=torch.tensor([7, 8]))


def test_names_and_noise_of_the_wrong_shape_are_refused(model, images, labels):
    refused(model, images, labels, "index", index=torch.zeros(40, dtype=torch.int64))
    refused(model, images, labels, "start_noise", start_noise=torch.zeros(2, *images.shape))


def test_unknown_levels_are_refused(model, images, labels):
    with pytest.raises(EvaluationError, match="did you mean 'full'"):
        autopgd(model, images, labels, guards="ful")


def test_fast_guards_cost_no_more_than_they_may(model, images, labels):
    """At most one clean pass and 500 forward passes of single images."""
    count = {"images": 0}
    model.register_forward_hook(
        lambda module, args, output: count.update(images=count["images"] + len(args[0]))
    )
    costs = {}
    for level in ("off", "fast"):
        count["images"] = 0
        autopgd(model, images, labels, guards=level, **{**BRIEF, "batch_size": 128})
        costs[level] = count["images"]
    assert 0 < costs["fast"] - costs["off"] <= len(images) + 500


def test_gradients_that_are_not_a_number_are_named_as_such(model, images, labels):
    """The square root of a distance has no derivative at 0: logits are fine, gradients are not."""
    rooted = Wrapped(model, before=lambda x: x + (x - x.detach()).abs().sqrt())
    assert "sqrt" in refused(rooted, images, labels, "nan_gradient")


@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_a_constant_in_the_logits_changes_no_flag(offset, model, images, labels):
    shifted = Wrapped(model, after=lambda z: z + offset)
    kwargs = {**BRIEF, "num_steps": 20}
    result, expected = (autopgd(m, images, labels, **kwargs) for m in (shifted, model))
    same = ~(result.near_tie | expected.near_tie)
    assert torch.equal(result.robust[same], expected.robust[same]) and same.float().mean() > 0.4


def test_a_constant_that_rounds_the_logits_away_is_flagged_or_refused(model, images, labels):
    flags = autopgd(Wrapped(model, after=lambda z: z + 1e5), images, labels, **BRIEF).flags
    assert flags[0].startswith("offset: on 40 of 40 images")
    for offset in (1e6, 1e7):
        shifted = Wrapped(model, after=lambda z, offset=offset: z + offset)
        try:
            flags = autopgd(shifted, images, shifted(images).argmax(1), **BRIEF).flags
        except EvaluationError:
            continue
        assert any(flag.startswith("offset:") for flag in flags)


def test_near_ties_are_judged_by_the_leading_logits():
    z = torch.tensor([[2.0, 1.9995, 1.0, 0.5], [2.0, 1.99, 1.0, 0.5]])
    labels = torch.zeros(2, dtype=torch.int64)
    for mask in (-100.0, -1e9):
        masked = torch.cat([z, torch.full((2, 3), mask)], 1)
        assert is_near_tie(masked, labels).tolist() == is_near_tie(z, labels).tolist() == [True, False]
    # One float32 step of 1e6 is 0.06: a difference of two steps says nothing.
    assert is_near_tie(z[1:] + torch.tensor([1e6, 1e6 - 0.12, 1e6 - 50, 1e6 - 50]), labels[1:]).all()
    assert is_near_tie(torch.tensor([[1.0, 1.0 + 1e-6], [1.0, 1.5]]), labels).tolist() == [True, False]


def test_an_l_infinity_radius_under_l2_is_flagged(model, images, labels):
    flags = checks.check_eps("l2", 8 / 255, images)
    assert len(flags) == 1 and "8/255" in flags[0]
    assert checks.check_eps("linf", 8 / 255, images) == checks.check_eps("l2", 0.5, images) == []


def test_points_that_never_move_are_refused(model, images, labels):
    """Whatever the reason: here steps of half the last bit of a pixel."""
    near_one = images * 0.4 + 0.6
    with torch.no_grad():
        classes = model(near_one).argmax(1)
    kwargs = {"norm": "linf", "eps": 0.01, "num_steps": 3, "step_size": 1e-9, "random_start": False}
    with pytest.raises(EvaluationError, match=r"^still:.*never moved"):
        pgd(model, near_one, classes, **kwargs)


def test_what_judges_is_measured(model, images, labels):
    """A bfloat16 body behind float32 images: nothing is judged in float32."""

    class Low(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.body(x)

    result = autopgd(Low(), images, labels, **BRIEF)
    assert result.record["arithmetic"] == "evaluated with weights float32, logits bfloat16, TF32 off"
    assert [flag.split(":")[0] for flag in result.flags] == ["low_precision"]


@pytest.mark.parametrize("mask", [-100.0, -1e9])
def test_masks_do_not_hide_batch_statistics(mask, model, images, labels):
    """Beside a mask every difference between logits is small."""
    model[1] = Forgetful(6)
    masked = Wrapped(model, after=lambda z: torch.cat([z[:, :4], torch.full_like(z[:, 4:], mask)], 1))
    with torch.no_grad():
        classes = masked(images).argmax(1)
    refused(masked, images, classes, "batch")


def test_labels_of_which_none_is_right_are_flagged(model, images, labels):
    found = autopgd(model, images, (labels + 1) % 6, **BRIEF)
    assert [flag.split(":")[0] for flag in found.flags] == ["clean"] and not found.robust.any()
    with torch.no_grad():
        one = torch.cat([model(images[:1]).argmax(1), (labels[1:] + 1) % 6])
    assert autopgd(model, images, one, **BRIEF).flags == []
