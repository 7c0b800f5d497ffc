"""One process against two: the number of processes changes rounding, nothing else."""

import contextlib
import dataclasses
import itertools
import json

import pytest
import torch

from robust_transfer.core import rng
from robust_transfer.distributed.context import single
from robust_transfer.distributed.launch import launch
from robust_transfer.objectives import build
from robust_transfer.training import job as job_module
from robust_transfer.training.job import train
from robust_transfer.training.sync_batchnorm import synchronise
from small_model import small_model
from steps import FIRST, whole
from training_jobs import METHODS, make_job, make_method, make_runtime, references_like


def short_attack(name):
    """Return two steps of attack where a method has one: the fewest of which one starts from another."""
    attack = getattr(make_method(name), "attack", None)
    return {} if attack is None else {"attack": dataclasses.replace(attack, num_steps=2)}


def one_step_in_float64(config, context):
    """Gradients and statistics of one step on the local half of a batch of eight."""
    objective = build(config)
    model = small_model(3 if config.spec.needs_labels else 0).double()
    trained = objective.training_model(model, references_like(config, model))
    if context.world_size > 1:
        synchronise(trained, context.device)
    objective.train_mode(trained)
    wrapped = context.wrap(trained)
    mine = slice(context.rank, None, context.world_size)  # by turns, as the loaders do
    images = torch.rand(3, 8, 3, 8, 8, generator=rng.generator(0, "images")).double()[:, mine]
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])[mine]
    views = images[: len(objective.views(8, 0))]

    def noise(purpose, copy):
        return rng.normal((8, 3, 8, 8), 0, purpose, copy).double()[mine]

    batch = objective.prepare(trained, whole(*views, labels), noise, FIRST)
    loss, _ = objective(wrapped, batch, noise, FIRST)
    loss.backward()
    found = {"loss": context.mean(loss.detach())}
    found |= {f"{n}.grad": p.grad for n, p in trained.named_parameters() if p.grad is not None}
    return found | {n: buffer.clone() for n, buffer in trained.named_buffers()}


def everything(root, methods, jobs, context):
    """Do what the tests below compare, in processes that start once."""
    steps = {name: one_step_in_float64(config, context) for name, config in methods.items()}
    train_all(jobs, context)
    if context.world_size > 1:
        cut_and_resumed(root, context)
    return steps


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the folder of both runs, and the single steps of one process and of two."""
    root = tmp_path_factory.mktemp("parallel")
    # Composed once, in this process.
    methods = {name: make_method(name, **short_attack(name)) for name in METHODS}
    work = {number: (root / number, methods, jobs_in(root / number)) for number in ("one", "two")}
    two = launch(everything, work["two"], devices=2, device_kind="cpu", batch_size=8)
    return root, everything(*work["one"], single("cpu")), two


@pytest.mark.slow
def test_one_step_of_every_objective_in_float64(runs):
    _, one, two = runs
    for name in METHODS:
        assert set(two[name]) == set(one[name])
        for key, wanted in one[name].items():
            torch.testing.assert_close(two[name][key], wanted, rtol=1e-10, atol=1e-10, msg=f"{name} {key}")


# One of each state that passes from step to step: running statistics and an attack in the step, a queue, two
# BatchNorms with a slow copy, prototypes, perturbations, moved weights, averaged weights, frozen stages.
SEVERAL = ("at", "moco", "dynacl", "swav", "free", "trades_awp", "byol_ema", "at_layer2")
STEPS = 4  # over the end of an epoch, which has three
# Of methods whose steps amplify rounding tenfold each at the usual rate, from 1e-15 on.
RATES = {"dynacl": 1e-4, "swav": 1e-4, "free": 0.005}


def jobs_in(root):
    """Return the jobs of several steps on 30 images."""
    jobs = []
    for name in SEVERAL:
        lr = RATES.get(name, 0.05 if make_method(name).spec.needs_labels else 0.002)
        job = make_job(
            name, root / name, max_steps=STEPS, epochs=9, batch_size=8, lr=lr, **short_attack(name)
        )
        fewer = dataclasses.replace(job.stage, dataset=dataclasses.replace(job.stage.dataset, shots=3))
        jobs.append(dataclasses.replace(job, stage=fewer))
    return jobs


def train_all(jobs, context):
    """Train for several steps in float64: float32 amplifies rounding, differently by processor."""
    for job in jobs:
        with pytest.MonkeyPatch.context() as patch:
            for loads in ("_starting_model", "_frozen"):
                narrow = getattr(job_module, loads)
                patch.setattr(job_module, loads, lambda *given, narrow=narrow: narrow(*given).double())
            train(job, context)


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_several_steps_in_float64(runs):
    for name in SEVERAL:
        folders = [runs[0] / number / name for number in ("one", "two")]
        one, two = (losses(folder) for folder in folders)
        assert len(one) == STEPS
        assert two == pytest.approx(one, rel=1e-10, abs=1e-10), name
        wanted, found = (torch.load(f / "last.pt", weights_only=True)["model"] for f in folders)
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=1e-10, atol=1e-10, msg=f"{name} {key}")


def cut_and_resumed(root, context):
    """Train without synchronised BatchNorm, once whole and once stopped between two checkpoints."""
    # The attack inside a step reads the running statistics of its own process.
    whole = make_job("at", root / "whole", runtime=make_runtime(sync_batchnorm=False))
    train(whole, context)
    cut = dataclasses.replace(whole, directory=root / "cut")
    unbroken = job_module._warn_of_unreadable

    def broken(batches, dataset):
        yield from itertools.islice(unbroken(batches, dataset), 6)  # a checkpoint every 4 steps
        raise InterruptedError

    job_module._warn_of_unreadable = broken
    try:
        with contextlib.suppress(InterruptedError):
            train(cut, context)
    finally:
        job_module._warn_of_unreadable = unbroken
    assert not (cut.directory / "model.safetensors").exists()
    train(cut, context)


@pytest.mark.slow
def test_without_synchronised_batchnorm_a_resumed_run_is_bit_equal(runs):
    cut, whole = (runs[0] / "two" / part for part in ("cut", "whole"))
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    found, wanted = losses(cut), losses(whole)
    assert len(wanted) == 10 and found == wanted
