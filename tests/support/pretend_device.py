"""A device that no machine has, so that code for GPUs can be tried on any.

Two kinds of tensors live on it. Those of `fake_device` hold no numbers: any whole training step runs in
seconds, and a mix-up of devices, or a value that the host would have to wait for, is an exception. A `Held`
tensor wraps real numbers on the CPU: results are the CPU's, and what would make a host wait for a GPU is
counted.
"""

from __future__ import annotations

import collections
import contextlib
from unittest import mock

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

from robust_transfer.core import rng

NAME = "pretend"
DEVICE = torch.device("privateuseone", 0)
_generator, _normal = rng.generator, rng.normal
_kept = []  # registrations live as long as the process


class _Backend(backend_registration._DummyBackendModule):
    """Of the device's own random numbers there are none: its generator is the CPU's."""

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    def device_count(self):
        return 2

    def get_device_name(self, device=None):
        return NAME

    def get_rng_state(self, device=None):
        return torch.get_rng_state()

    def set_rng_state(self, state, device=None):
        torch.set_rng_state(state)

    def manual_seed(self, seed):
        torch.default_generator.manual_seed(seed)


def register():
    """Make the device known to torch, once in a process."""
    global DEVICE
    if _kept:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    DEVICE = torch.device(NAME, 0)
    every = torch.library.Library("_", "IMPL")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    every.fallback(_dispatched, "PrivateUse1")
    # What autocast lowers on GPUs, for the operations of our networks.
    lowered = torch.library.Library("aten", "IMPL")
    for name in ("conv2d", "linear"):
        lowered.impl(name, _lowering(getattr(torch.ops.aten, name)), "AutocastPrivateUse1")
    _kept.extend((every, lowered))


def _lowering(operation):
    def run(*arguments):
        key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
        with torch._C._ExcludeDispatchKeyGuard(key):
            return operation(*(_lowered(argument) for argument in arguments))

    return run


def _lowered(argument):
    floats = isinstance(argument, torch.Tensor) and argument.dtype == torch.float32
    return argument.to(torch.bfloat16) if floats else argument


def moved(module, function, recurse=True):
    """What nn.Module._apply does, without exchanging tensors: these have references that forbid it."""
    parameters = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in parameters:
                    with torch.no_grad():
                        values = function(parameter.detach())
                    new = torch.nn.Parameter(values, parameter.requires_grad)
                    parameters[id(parameter)] = new
                part._parameters[name] = parameters[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = function(buffer)
    return module


# ---------------------------------------------------------------- without numbers


class Positions(tuple):
    """A batch's indices, which stay numbers: a step reads them on the CPU."""

    def __getitem__(self, key):
        part = tuple.__getitem__(self, key)
        return Positions(part) if isinstance(key, slice) else part

    def tolist(self):
        return list(self)


def _every_row(tensor, *arguments, **options):
    # Without numbers there is no telling which rows: all of them.
    assert tensor.device.type == "cpu", "nonzero() on the device makes the host wait"
    return torch.arange(len(tensor)).unsqueeze(1)


def _fake_normal(shape, seed, purpose, *index, counter=0, device="cpu"):
    return torch.randn(tuple(shape), device=device)


@contextlib.contextmanager
def fake_device():
    """Let tensors hold no numbers; an operation on tensors of two devices raises."""
    register()
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch.object(fake_tensor, "CONSTANT_NUMEL_LIMIT", -1),  # no number is known ahead
        mock.patch.object(torch.nn.Module, "_apply", moved),
        mock.patch.object(torch.Tensor, "nonzero", _every_row),
        mock.patch.object(rng, "normal", _fake_normal),
        # Without numbers there are no states of generators either.
        mock.patch.object(rng, "generator", lambda *key, **options: torch.Generator()),
        mock.patch.object(rng, "global_state", lambda *key, **options: contextlib.nullcontext()),
    ):
        yield


# ---------------------------------------------------------------- with numbers

waits = collections.Counter()  # what made the host wait, by operation
WAITING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::equal",
    "aten::masked_select",
    "aten::_unique2",
}
COPYING = {"aten::_to_copy", "aten::copy_"}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class Held(torch.Tensor):
    """Real numbers in `values` on the CPU, shown as a tensor of the device."""

    @staticmethod
    def __new__(cls, values, device=None):
        held = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=device or DEVICE,
        )
        held.values_on_cpu = values
        return held

    def tolist(self):
        waits["tolist"] += 1
        return self.values_on_cpu.tolist()

    def numpy(self, *arguments, **options):
        raise TypeError(f"numpy() of a tensor on {DEVICE}")

    def __getitem__(self, key):
        return super().__getitem__(_index(key, self.device))

    def __setitem__(self, key, value):
        return super().__setitem__(_index(key, self.device), value)

    def __repr__(self, **options):
        return f"Held({self.values_on_cpu})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, arguments=(), options=None):
        return _dispatched(operation, *arguments, **(options or {}))


def _index(key, device):
    if isinstance(key, tuple):
        return tuple(_index(part, device) for part in key)
    if isinstance(key, list):
        waits["list as index"] += 1
        return torch.tensor(key).to(device)
    return key


def _on_device(device):
    return device is not None and torch.device(device).type == NAME


def _dispatched(operation, *arguments, **options):
    """Run an operation on the numbers of its arguments; refuse those of two devices."""
    name = operation._schema.name
    tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, torch.Tensor)]
    held = [tensor for tensor in tensors if isinstance(tensor, Held)]
    device = options.get("device")
    if held and name not in COPYING:
        _refuse_mixture(name, tensors)
    _count(name, arguments, held, device)
    plain = tree_map(_plain, options)
    plain.pop("pin_memory", None)
    result = operation(*tree_map(_plain, arguments), **plain)
    if name == "aten::copy_" or (operation._schema.is_mutable and name.endswith("_")):
        return arguments[0]
    if name == "aten::_local_scalar_dense" or not (_on_device(device) if device is not None else held):
        return result
    same = {id(tensor.values_on_cpu): tensor for tensor in held}
    target = held[0].device if device is None else torch.device(NAME, torch.device(device).index or 0)

    def shown(leaf):
        if not isinstance(leaf, torch.Tensor) or isinstance(leaf, Held):
            return leaf
        return same[id(leaf)] if id(leaf) in same else Held(leaf, target)

    return tree_map(shown, result)


def _refuse_mixture(name, tensors):
    devices = {str(tensor.device) for tensor in tensors if isinstance(tensor, Held)}
    if len(devices) > 1:
        raise RuntimeError(f"{name}: tensors on {' and '.join(sorted(devices))}")
    others = [tensor for tensor in tensors if not isinstance(tensor, Held) and tensor.dim() > 0]
    if others and name not in INDEXING:
        raise RuntimeError(f"{name}: tensors on {DEVICE} and on the CPU")


def _count(name, arguments, held, device):
    if not held:
        return
    masked = name in INDEXING and any(
        leaf.dtype == torch.bool for leaf in tree_leaves(arguments[1:2]) if isinstance(leaf, torch.Tensor)
    )
    to_host = (name == "aten::_to_copy" and device is not None and not _on_device(device)) or (
        name == "aten::copy_" and not isinstance(arguments[0], Held)
    )
    if name in WAITING or masked or to_host:
        waits[f"{name} by mask" if masked else name] += 1


def _plain(leaf):
    if isinstance(leaf, Held):
        return leaf.values_on_cpu
    return torch.device("cpu") if isinstance(leaf, torch.device) and leaf.type == NAME else leaf


def _cpu_generator(seed, purpose, *index, counter=0, device="cpu"):
    """The device draws the CPU's numbers."""
    return _generator(seed, purpose, *index, counter=counter)


def _cpu_normal(shape, seed, purpose, *index, counter=0, device="cpu"):
    return _normal(shape, seed, purpose, *index, counter=counter).to(device)


def _made(make):
    def on_device(data, *arguments, device=None, **options):
        tensor = make(data, *arguments, **options)
        return tensor.to(device) if device is not None else tensor

    return on_device


@contextlib.contextmanager
def held_device():
    """Let tensors on the device be `Held`, and its generators the CPU's; `waits` begins at nothing."""
    register()
    waits.clear()
    with (
        mock.patch.object(torch.nn.Module, "_apply", moved),
        mock.patch.object(torch, "tensor", _made(torch.tensor)),
        mock.patch.object(torch, "as_tensor", _made(torch.as_tensor)),
        mock.patch.object(rng, "generator", _cpu_generator),
        mock.patch.object(rng, "normal", _cpu_normal),
        mock.patch.object(torch, "inference_mode", torch.no_grad),  # which wrapper tensors cannot be in
    ):
        yield waits


# ---------------------------------------------------------------- faults


def put_in(monkeypatch, module, old, new):
    """Change one place in a module's source, in the functions that are already loaded."""
    with open(module.__file__, encoding="utf-8") as stream:
        text = stream.read()
    assert text.count(old) == 1, f"{module.__name__}: {text.count(old)} places of {old!r}"
    changed = dict(vars(module))
    exec(compile(text.replace(old, new), module.__file__, "exec"), changed)
    number = 0
    for function, other in _functions(vars(module), changed):
        if function.__code__ != other.__code__:
            monkeypatch.setattr(function, "__code__", other.__code__)
            number += 1
    assert number, f"nothing of {module.__name__} has changed"


def _functions(before, after):
    """Yield a module's functions and methods in two versions."""
    for name, value in list(before.items()):
        other = after.get(name)
        if getattr(value, "__module__", None) != before["__name__"]:
            continue
        if isinstance(value, type):
            yield from _pairs(vars(value), vars(other))
        elif hasattr(value, "__code__"):
            yield value, other


def _pairs(before, after):
    for name, value in before.items():
        if hasattr(value, "__code__") and hasattr(after.get(name), "__code__"):
            yield value, after[name]
