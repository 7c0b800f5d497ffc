"""What a context offers, alone and between two processes."""

import pytest
import torch
from torch import nn

from robust_transfer.distributed.collectives import all_sum
from robust_transfer.distributed.context import accumulating, single, unwrap
from robust_transfer.distributed.launch import launch


def test_one_process_is_the_identity():
    context, tensor, model = single("cpu"), torch.rand(3), nn.Linear(2, 2)
    assert context.is_main and context.world_size == 1
    assert (
        context.mean(tensor) is tensor and context.gather(tensor) is tensor and context.sum(tensor) is tensor
    )
    assert context.any(True) and not context.any(False)
    assert context.broadcast("x") == "x" and context.wrap(model) is model and unwrap(model) is model
    context.barrier()


def collectives(context):
    """Everything a context offers, against what one process would compute."""
    rank = context.rank
    own = torch.tensor([1.0 + rank, 10.0 * (rank + 1)], requires_grad=True)
    everyone = context.gather(own)
    # This process's loss weighs all parts; the gradient of its own part comes from both losses.
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0]) * (rank + 1)
    (everyone * weights).sum().backward()
    summed = torch.tensor([2.0 + rank], requires_grad=True)
    (all_sum(summed) * (rank + 5)).sum().backward()
    model = context.wrap(nn.Linear(1, 1, bias=False))
    with accumulating(model):
        model(torch.tensor([[1.0 + rank]])).sum().backward()
    local = unwrap(model).weight.grad.clone()
    model(torch.zeros(1, 1)).sum().backward()
    context.barrier()
    shared = nn.BatchNorm1d(2)
    shared.running_mean.fill_(rank + 1.0)
    shared.register_module("beside", nn.Module())
    shared.beside.register_buffer("queue", torch.full((2,), rank + 1.0))
    context.share_buffers(shared)
    return {
        "shared": context.gather(shared.running_mean).tolist(),
        "own": context.gather(shared.beside.queue).tolist(),
        "gathered": everyone.tolist(),
        "gradient": context.gather(own.grad).tolist(),
        "sum_gradient": summed.grad.item(),
        "mean": context.mean(torch.tensor(float(rank))).item(),
        "sum": context.sum(torch.tensor(rank + 1)).item(),
        "any": [context.any(rank == 1), context.any(False)],
        "broadcast": context.broadcast(f"from {rank}"),
        "accumulated": [local.item(), unwrap(model).weight.grad.item()],
        "device": str(context.device),
    }


@pytest.mark.slow
def test_collectives_over_two_processes():
    assert launch(collectives, (), devices=2, device_kind="cpu", batch_size=4) == {
        "shared": [1.0, 1.0, 1.0, 1.0],
        "own": [1.0, 1.0, 2.0, 2.0],
        "gathered": [1.0, 10.0, 2.0, 20.0],
        "gradient": [3.0, 6.0, 9.0, 12.0],
        "sum_gradient": 11.0,
        "mean": 0.5,
        "sum": 3,
        "any": [True, False],
        "broadcast": "from 0",
        "accumulated": [1.0, 1.5],
        "device": "cpu",
    }
