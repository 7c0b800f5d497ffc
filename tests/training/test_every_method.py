"""What every method declares is what its step does; a new method is covered by being registered."""

import copy
from dataclasses import replace

import pytest
import torch

from counted_steps import IMAGE_SIZE, PROGRESS, SIZE, PassCounter, step_of
from robust_transfer.models.normalized import Classifier
from training_jobs import METHODS, VARIANTS, make_method


def references_of(step):
    """The frozen models that a method reads beside the one that it trains."""
    return [value for value in vars(step.objective).values() if isinstance(value, Classifier)]


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in METHODS), ("at", {"use_best": True}), ("simclr", {"micro_batch": 2})],
)
def test_passes_planned_are_passes_counted(name, changes):
    step, batch = step_of(name, **changes)
    trained = [m for m in step.trained.modules() if isinstance(m, Classifier)]
    counter = PassCounter([*trained, *references_of(step)])
    step(batch, PROGRESS)
    config = step.config
    assert counter.images / SIZE == pytest.approx(config.spec.passes_per_image(config))


@pytest.mark.parametrize("name", METHODS)
def test_labels_are_read_where_they_are_needed_and_nowhere_else(name):
    step, batch = step_of(name)
    before = copy.deepcopy(step.trained.state_dict())
    losses = []
    for labels in (batch.labels, (batch.labels + 1) % 3):
        step.trained.load_state_dict(before)
        losses.append(float(step(batch._replace(labels=labels), PROGRESS)["loss"]))
    assert (losses[0] != losses[1]) == step.config.spec.needs_labels


@pytest.mark.parametrize("name", METHODS)
def test_every_view_is_read_and_no_other_is_declared(name):
    step, batch = step_of(name)
    before = copy.deepcopy(step.trained.state_dict())
    assert len(batch.images) == len(step.objective.views(IMAGE_SIZE, 0))
    loss = float(step(batch, PROGRESS)["loss"])
    for view in range(len(batch.images)):
        images = list(batch.images)
        images[view] = images[view].flip(0)
        step.trained.load_state_dict(before)
        changed = float(step(batch._replace(images=tuple(images)), PROGRESS)["loss"])
        assert changed != loss, f"view {view}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, *VARIANTS])
def test_all_state_lies_in_the_network_that_a_checkpoint_holds(name):
    """A second objective, given the first one's tensors, takes the same second step bit by bit."""
    (first, batch), (second, _) = step_of(name), step_of(name)
    first(batch, PROGRESS)
    second.trained.load_state_dict(first.trained.state_dict())
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    after = replace(PROGRESS, step=PROGRESS.step + 1)
    assert {k: float(v) for k, v in first(batch, after).items()} == {
        k: float(v) for k, v in second(batch, after).items()
    }
    for (key, found), wanted in zip(
        second.trained.state_dict().items(), first.trained.state_dict().values(), strict=True
    ):
        assert torch.equal(found, wanted), key


@pytest.mark.parametrize("name", METHODS)
def test_what_is_exported_is_a_classifier_of_the_trained_network(name):
    step, _ = step_of(name)
    exported = step.objective.exported_model(step.trained)
    assert isinstance(exported, Classifier)
    assert exported.num_classes == (3 if step.config.spec.needs_labels else 0)
    assert set(map(id, exported.parameters())) <= set(map(id, step.trained.parameters()))


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_are_summed_or_refused(name):
    config = make_method(name, batch_size=SIZE, micro_batch=2)
    if not (config.spec.accumulates or config.spec.caches):
        with pytest.raises(Exception, match="not a mean over parts"):
            config.check("finetune")
        return
    (whole, batch), (parts, _) = step_of(name), step_of(name, micro_batch=2)
    for step in (whole, parts):
        # Statistics of a micro-batch are its own; in eval mode the loss is a mean over images.
        for network in (step.trained, *references_of(step)):
            network.double()
        step.dtype = torch.float64
        step.objective.train_mode = lambda trained: trained.eval()
    # A spread over the batch is not the mean of its parts' spreads.
    found, wanted = (
        {k: float(v) for k, v in step(batch, PROGRESS).items() if not k.endswith("_std")}
        for step in (parts, whole)
    )
    assert found == pytest.approx(wanted, rel=1e-9)
    for (key, value), expected in zip(
        parts.trained.named_parameters(), whole.trained.parameters(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12, msg=key)
