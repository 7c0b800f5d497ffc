import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robust_transfer.attacks import threat
from robust_transfer.core import rng
from robust_transfer.core.choices import ALL_NORMS
from robust_transfer.core.errors import EvaluationError


def noise(*shape, name="noise"):
    return rng.normal(shape, 0, name)


@pytest.mark.parametrize("norm", ALL_NORMS)
@pytest.mark.parametrize("eps", [1e-3, 0.3, 5.0])
def test_projection_ends_in_ball_and_box(norm, eps, images):
    points = threat.project(images + 3 * noise(*images.shape), images, norm=norm, eps=eps)
    points = threat.tighten(points, images, norm=norm, eps=eps)
    assert points.min() >= 0 and points.max() <= 1
    assert (threat.distances(points, images, norm=norm) <= eps * (1 + 1e-5)).all()


@pytest.mark.parametrize("norm", ALL_NORMS)
def test_projection_leaves_points_inside_alone(norm, images):
    inside = (images + 1e-3 * noise(*images.shape).clamp(-1, 1)).clamp(0, 1)
    projected = threat.project(inside, images, norm=norm, eps=1.0)
    torch.testing.assert_close(projected, inside, rtol=0, atol=1e-6)


def test_linf_projection_is_the_nearest_point_by_brute_force():
    center, eps = torch.full((1, 1, 1, 1), 0.95), 0.1
    grid = torch.linspace(0.85, 1.0, 3001)
    for point in (-1.0, 0.9, 0.99, 2.0):
        nearest = grid[(grid - point).abs().argmin()]
        found = threat.project(torch.full_like(center, point), center, norm="linf", eps=eps)
        assert abs(float(found) - float(nearest)) < 1e-4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(-2, 2)), min_size=1, max_size=12),
    st.floats(1e-3, 4),
)
def test_l1_projection_is_the_nearest_point_of_ball_and_box(pixels, eps):
    """Against a bisection of the multiplier of the length, in float64, and against random points of both."""
    centers, offsets = torch.tensor(pixels, dtype=torch.float64).T.reshape(2, 1, 1, 1, -1)
    found = threat.project_l1(offsets, centers, eps=eps)
    assert float(found.abs().sum()) <= eps + 1e-9
    assert (centers + found).min() >= -1e-12 and (centers + found).max() <= 1 + 1e-12

    def moved(multiplier):
        shrunk = offsets.sign() * (offsets.abs() - multiplier).clamp(min=0)
        return torch.minimum(torch.maximum(shrunk, -centers), 1 - centers)

    low, high = 0.0, 3.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(moved(middle).abs().sum()) > eps else (low, middle)
    torch.testing.assert_close(found, moved(high), rtol=0, atol=1e-9)
    others = torch.rand(200, *centers.shape, generator=rng.generator(0, "others"), dtype=torch.float64)
    others = (others - centers) * (eps / (others - centers).abs().sum(-1, keepdim=True)).clamp(max=1)
    nearest = (others - offsets).square().sum(-1).min()
    assert float((found - offsets).square().sum()) <= float(nearest) + 1e-9


def test_l2_starts_lie_on_the_sphere_where_the_box_allows(images):
    middle = torch.full_like(images, 0.5)
    start = threat.start_points(middle, noise(*images.shape), norm="l2", eps=0.4)
    torch.testing.assert_close(
        threat.distances(start, middle, norm="l2"),
        torch.full((len(images),), 0.4, dtype=torch.float64),
        rtol=1e-5,
        atol=0,
    )


def test_linf_starts_are_uniform_in_the_cube():
    middle = torch.full((4, 3, 16, 16), 0.5)
    start = threat.start_points(middle, noise(*middle.shape), norm="linf", eps=0.25)
    assert stats.kstest(start.flatten().numpy(), stats.uniform(0.25, 0.5).cdf).pvalue > 0.01


def test_linf_starts_that_reach_touch_the_face():
    middle = torch.full((4, 3, 8, 8), 0.5)
    start = threat.start_points(middle, noise(*middle.shape), norm="linf", eps=0.25, reach=True)
    torch.testing.assert_close((start - 0.5).abs().flatten(1).amax(1), torch.full((4,), 0.25))


def test_distances_are_float64_and_right():
    points = torch.zeros(2, 1, 1, 2)
    points[0, 0, 0] = torch.tensor([0.3, 0.4])
    assert threat.distances(points, torch.zeros_like(points), norm="l2").dtype == torch.float64
    assert threat.distances(points, torch.zeros_like(points), norm="l2").tolist() == pytest.approx([0.5, 0])
    assert threat.distances(points, torch.zeros_like(points), norm="linf").tolist() == pytest.approx([0.4, 0])


def test_direction_of_a_zero_gradient_is_zero():
    for norm in ALL_NORMS:
        assert not threat.direction(torch.zeros(2, 1, 2, 2), norm=norm).any()


def test_tighten_undoes_rounding():
    centers = torch.full((1, 1, 1, 2), 0.9)
    points = centers + torch.tensor(1e-3)
    tight = threat.tighten(points, centers, norm="linf", eps=float(points[0, 0, 0, 0].double() - 0.9) - 1e-8)
    assert (tight < points).all() and torch.allclose(tight, points, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "eps", "message"), [("l3", 0.5, "norm"), ("l2", 0.0, "eps"), ("l2", float("nan"), "eps")]
)
def test_impossible_balls_are_refused(norm, eps, message):
    with pytest.raises(EvaluationError, match=message):
        threat.check_ball(norm, eps)
