"""The attack inside each method's step reaches the best point of its ball, and leaves the network as it was.

Outputs follow one score an image, so that an attack can reach an interval of scores and nothing else: a grid
over the intervals of a whole batch holds the optimum, whatever the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from line import line, plane, read_score, tell_routes_apart
from robust_transfer.attacks.threat import direction
from robust_transfer.config.eps_schedules import ConstantEps
from robust_transfer.core import rng
from robust_transfer.models.normalized import Classifier
from robust_transfer.objectives import build
from robust_transfer.objectives.smoothmix import drawn_mix
from score_losses import contrast, cross_entropy, distance, divergence, smoothed_loss
from small_model import small_model
from steps import FIRST, one_step, whole
from training_jobs import ATTACK, METHODS, make_method, references_like

EPS, SIGMA, TEMPERATURE, COPIES, STEPS = 0.3, 0.5, 0.5, 2, 40
LABELS = torch.tensor([0, 1, 1, 0])
SCORES = torch.tensor([0.2, -0.4, -0.3, 0.5]).double()  # of the images before they are attacked


@dataclass
class Setting:
    """A method, its network, four images, and the plane (direction, offset) through which each is seen."""

    objective: Any
    trained: nn.Module
    images: Tensor
    planes: list[tuple[Tensor, Tensor]]
    starts: Tensor  # whether an image's random start has a higher (1) or a lower score (-1)
    views: int  # among which the images are divided

    def noise(self, purpose: str, copy: int) -> Tensor:
        draw = rng.normal((len(LABELS) // self.views, 3, 2, 2), 0, purpose, copy).double()
        if purpose != "start":
            return draw
        raising = self.starts.view(-1, 1, 1, 1) * self.directions.sign()
        return draw.abs() * raising.chunk(self.views)[copy]

    def prepared(self, *views: Tensor) -> Any:
        batch = whole(*views, LABELS[: len(views[0])])
        return self.objective.prepare(self.trained, batch, self.noise, FIRST)

    @property
    def directions(self) -> Tensor:
        return torch.stack([u for u, _ in self.planes])

    def scores(self, images: Tensor) -> Tensor:
        return seen(images, self.planes)


def seen(images, planes):
    return torch.stack([(u * x).sum() + c for x, (u, c) in zip(images, planes, strict=True)])


# Attacks: setting -> images before, images after, and the loss to raise.

Attack = Callable[[Setting], tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]]


def judged(setting):
    return setting.objective.perturbed(setting.trained, whole(setting.images, LABELS), setting.noise)


def on_cross_entropy(setting):
    (moved,) = setting.prepared(setting.images).images
    assert torch.equal(judged(setting), moved)
    return setting.images, moved, lambda s: cross_entropy(s, LABELS)


def on_divergence(setting):
    clean, moved = setting.prepared(setting.images).images
    assert torch.equal(judged(setting), moved)
    return clean, moved, lambda s: divergence(s, setting.scores(setting.images))


def shifts(setting):
    draws = [SIGMA * setting.noise("smoothing", copy) for copy in range(COPIES)]
    return [(setting.directions * draw).sum((1, 2, 3)) for draw in draws]


def on_votes(setting):
    (moved,) = setting.prepared(setting.images).images
    assert torch.equal(judged(setting), moved + SIGMA * setting.noise("smoothing", 0))
    return setting.images, moved, lambda s: smoothed_loss(s, LABELS, shifts(setting))


def through_mixing(setting):
    clean, mixed = setting.prepared(setting.images).images
    moved = clean + (mixed - clean) / drawn_mix(setting.noise).view(-1, 1, 1, 1)
    return clean, moved, lambda s: smoothed_loss(s, LABELS, shifts(setting))


def by_replays(setting):
    """What the passes of steps at weights that stay leave behind."""
    for _ in range(STEPS):
        setting.objective.train_mode(setting.trained)
        batch = setting.prepared(setting.images)
        with setting.objective.around_step(setting.trained, None, FIRST):
            setting.objective(setting.trained, batch, setting.noise, FIRST)[0].backward()
    moved = setting.images + setting.trained.perturbation
    return setting.images, moved, lambda s: cross_entropy(s, LABELS)


def when_judged(setting):
    return setting.images, judged(setting), lambda s: cross_entropy(s, LABELS)


def on_the_task(setting):
    batch, classes = setting.prepared(setting.images), setting.trained.head.out_features
    return *batch.images, lambda s: cross_entropy(s, batch.labels, classes)


def on_features(setting):
    clean, moved, _ = setting.prepared(setting.images).images
    goal = seen(clean, [plane(setting.objective.teacher)] * 4)
    return clean, moved, lambda s: distance(s, goal)


def on_pairs(setting):
    views = setting.prepared(*setting.images.chunk(2)).images
    return setting.images, torch.cat(views[-2:]), lambda s: contrast(s, TEMPERATURE)


def on_one_view(setting):
    goal, moved = setting.prepared(setting.images, setting.images + 0.01).images
    kept = seen(goal, [plane(setting.trained.features, 0)] * 4)

    def loss(scores):
        partners = kept.expand(*scores.shape[:-1], -1)
        return contrast(torch.cat((scores, partners), -1), TEMPERATURE)

    return setting.images, moved, loss


@dataclass
class Adversary:
    """An attack, and by which networks (classifier, its route of BatchNorm) the images are seen."""

    method: str
    attack: Attack
    seen_by: Callable[[Any], list[tuple[nn.Module, int | None]]]
    starts: tuple[int, ...] = (-1, 1, 1, -1)
    views: int = 1
    changes: dict[str, Any] = field(default_factory=dict)
    norms: tuple[str, ...] = ("l2", "linf")


def itself(trained):
    return [(trained, None)] * 4


def features(route=None):
    return lambda trained: [(trained.features, route)] * 4


SMOOTHED = {"sigma": SIGMA, "num_noise_samples": COPIES}
SMOOTHADV = {**SMOOTHED, "eps": EPS, "num_steps": 2, "eps_schedule": ConstantEps()}
SMOOTHMIX = {**SMOOTHED, "step_size": EPS / 3, "num_steps": 3}
APART = (1, -1, -1, 1)
ADVERSARIES = {
    "at": Adversary("at", on_cross_entropy, itself),
    "at_linear": Adversary("at_linear", on_cross_entropy, itself),
    "twins": Adversary("twins", on_cross_entropy, lambda trained: [(trained, 0)] * 4),
    "free": Adversary("free", by_replays, lambda trained: itself(trained.classifier)),
    "free_judged": Adversary(
        "free",
        when_judged,
        lambda trained: itself(trained.classifier),
        changes={"replays": STEPS},
        norms=("linf",),
    ),
    "trades": Adversary("trades", on_divergence, itself),
    "smoothadv": Adversary("smoothadv", on_votes, itself, changes=SMOOTHADV, norms=("l2",)),
    "smoothmix": Adversary("smoothmix", through_mixing, itself, changes=SMOOTHMIX, norms=("l2",)),
    "rotation": Adversary("rotation", on_the_task, features()),
    "jigsaw": Adversary("jigsaw", on_the_task, features(), changes={"grid": 2}),
    "deacl": Adversary("deacl", on_features, itself),
    "acl_ds": Adversary("acl", on_pairs, features(1), APART, views=2),
    "acl_a2a": Adversary("acl", on_pairs, features(), APART, views=2, changes={"variant": "a2a"}),
    "acl_a2s": Adversary("acl", on_one_view, features(1), (-1, -1, -1, -1), changes={"variant": "a2s"}),
    "dynacl": Adversary(
        "dynacl",
        on_pairs,
        lambda trained: [(trained.online.features, 1)] * 2 + [(trained.target.features, 1)] * 2,
        APART,
        views=2,
    ),
}
CASES = [(name, norm) for name, row in ADVERSARIES.items() for norm in row.norms]


def set_up(name, norm):
    row = ADVERSARIES[name]
    threat = {"attack": replace(ATTACK, norm=norm, eps=EPS, num_steps=STEPS, step_size=EPS)}
    if row.method == "free":
        threat = {"norm": norm, "eps": EPS}
    elif row.method in ("smoothadv", "smoothmix"):
        threat = {}
    config = make_method(row.method, batch_size=len(LABELS), **threat, **row.changes)
    model, objective = line(2 if config.spec.needs_labels else 0), build(config)
    trained = objective.training_model(model, references_like(config, model))
    solvable(name, objective, trained)
    planes = [plane(seen_by, route) for seen_by, route in row.seen_by(trained)]
    texture = 0.5 + 0.01 * rng.normal((4, 3, 2, 2), 0, "texture").double()
    missing = SCORES - seen(texture, planes)
    images = texture + torch.stack(
        [m * u / u.square().sum() for m, (u, _) in zip(missing, planes, strict=True)]
    )
    return Setting(objective, trained, images, planes, torch.tensor(row.starts), row.views)


def solvable(name, objective, trained):
    """Let all that is trained follow a line, and no two networks and routes the same one."""
    tell_routes_apart(trained)
    for path, module in list(trained.named_modules()):
        layer = path.rpartition(".")[2]
        if layer == "head" and isinstance(module, nn.Linear):
            read_score(module)
        elif layer == "head" or (name == "free" and layer in ("norm", "dropout")):
            trained.set_submodule(path, nn.Identity())  # free: its attack is a step, in train mode
    if name == "dynacl":
        trained.target.features.backbone.project.weight.data *= torch.linspace(1.2, 0.7, 12)
    if name == "deacl":
        objective.teacher.backbone.project.weight.data *= 1.2


def best_ends(loss, before, reach):
    """Return where in their reach (4,), from -1 to 1, the scores of a batch are best, taken together."""
    parts = torch.cartesian_prod(*[torch.linspace(-1, 1, 7).double()] * 4)
    return parts[loss(before + parts * reach).argmax()]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_attack_ends_at_the_best_point_of_the_ball(name, norm):
    setting = set_up(name, norm)
    before, moved, loss = ADVERSARIES[name].attack(setting)
    dual = torch.linalg.vector_norm(setting.directions.flatten(1), ord=2 if norm == "l2" else 1, dim=1)
    ends = best_ends(loss, setting.scores(before), EPS * dual)
    assert (ends.abs() == 1).all(), "the best point lies inside of the ball: no closed form"
    steepest = direction(setting.directions, norm=norm)
    torch.testing.assert_close(moved, before + EPS * ends.view(-1, 1, 1, 1) * steepest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ADVERSARIES if name != "free"])
def test_attack_sees_the_network_in_eval_mode_and_frozen_and_gives_it_back(name):
    setting = set_up(name, ADVERSARIES[name].norms[0])
    trained = setting.trained
    setting.objective.train_mode(trained)
    for path, module in trained.named_modules():
        if path.endswith("flatten"):
            module.eval()
    next(trained.parameters()).requires_grad_(False)
    before = state_of(trained)
    passes = watch(trained)
    ADVERSARIES[name].attack(setting)
    attacks = [(training, frozen) for attacked, training, frozen in passes if attacked]
    assert attacks and set(attacks) == {(False, True)}
    for was, now in zip(before, state_of(trained), strict=True):
        assert was.keys() == now.keys() and all(torch.equal(was[key], now[key]) for key in was)
    assert all(parameter.grad is None for parameter in trained.parameters())


def state_of(trained):
    """Return tensors, modes and which parameters learn, by their names."""
    tensors = {key: value.clone() for key, value in trained.state_dict().items()}
    modes = {path: torch.tensor(module.training) for path, module in trained.named_modules()}
    return tensors, modes, {path: torch.tensor(p.requires_grad) for path, p in trained.named_parameters()}


def watch(trained):
    """Note for each pass through a classifier: gradient of the images wanted, train mode, weights frozen."""
    passes = []

    def note(module, given):
        training = any(part.training for part in module.modules())
        passes.append(
            (given[0].requires_grad, training, not any(p.requires_grad for p in module.parameters()))
        )

    for module in trained.modules():
        if isinstance(module, Classifier):
            module.register_forward_pre_hook(note)
    return passes


@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_takes_gradients_of_images_stands_here(method):
    config = make_method(method, batch_size=len(LABELS))
    model, objective = small_model(2 if config.spec.needs_labels else 0), build(config)
    trained = objective.training_model(model, references_like(config, model))
    images = [torch.rand(4, 3, 8, 8, generator=rng.generator(0, "images")) for _ in objective.views(8, 0)]
    passes = watch(trained)
    objective.train_mode(trained)
    one_step(objective, trained, whole(*images, LABELS), lambda *key: rng.normal((4, 3, 8, 8), 0, *key))
    rows = {row.method for row in ADVERSARIES.values()}
    assert any(attacked for attacked, _, _ in passes) == (method in rows)
