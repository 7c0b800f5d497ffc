"""Read foreign checkpoint files without running code that they carry.

A pickle names functions and calls them. Three readers, each tried when the one before refuses:

1. torch's own `weights_only=True`;
2. a restricted unpickler: tensors and containers are rebuilt, every other name becomes an `Inert` object that
   ignores what is done to it (so a file with an `argparse.Namespace` beside its weights still loads);
3. plain pickle, only with trust=True: it runs whatever the file says.

safetensors files hold no code and need none of this.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import safetensors
import safetensors.torch
import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.container import container, is_torchscript, read_header
from robust_transfer.models.folders import shards, weights_file


@dataclass
class LoadedFile:
    """The content of a file.

    Parameters
    ----------
    root : the outermost object, most often a dict
    container : "safetensors", "zip", "legacy", "npz" or "shards"
    reader : "safetensors", "numpy", "weights_only", "restricted" or "trusted"; of shards, those of each
    inert : names of the globals that were not loaded, sorted (reader "restricted")
    """

    root: Any
    container: str
    reader: str
    inert: list[str] = field(default_factory=list)


class Inert:
    """Replaces an object of a class that is not loaded: accepts every step of a pickle and does nothing.

    Only the state of a pickled nn.Module is kept, since the weights of a whole-model file lie there.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:  # noqa: D102
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.module_state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        kept = state if isinstance(state, dict) and "_modules" in state else {}
        object.__setattr__(self, "module_state", kept)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Ignore a list item."""

    def extend(self, values: Any) -> None:
        """Ignore list items."""

    def add(self, value: Any) -> None:
        """Ignore a set item."""


class _Rebuild:
    """Call one of torch's rebuilding functions without handing out the function object itself.

    A pickle may set attributes of whatever it can name; here there are none to set.
    """

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("a checkpoint may not change torch's functions")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a checkpoint may not change torch's functions")


# All types here are immutable: a pickle cannot change what other code sees of them.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "set"): set,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): _Rebuild(torch._utils._rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Rebuild(torch._utils._rebuild_parameter),
}


class _WholeModelError(pickle.UnpicklingError):
    """The legacy form names the class of every module together with its source code."""


def _refuse_modules(persistent_load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def guarded(saved_id: Any) -> Any:
        if isinstance(saved_id, tuple) and saved_id[:1] == ("module",):
            raise _WholeModelError
        return persistent_load(saved_id)

    return guarded


def _restricted_pickle(seen: set[str]) -> Any:
    """Return a stand-in for the module `pickle` whose unpickler loads tensors and containers only."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in _ALLOWED:
                return _ALLOWED[module, name]
            value = getattr(torch, name, None) if module == "torch" else None
            if isinstance(value, torch.dtype):
                return value
            seen.add(f"{module}.{name}")
            # A class of its own per name: what a pickle does to it affects nothing else.
            return type(f"{module}.{name}", (Inert,), {})

        def __setattr__(self, attribute: str, value: Any) -> None:
            # torch sets its function that finds storages by assignment.
            super().__setattr__(
                attribute, _refuse_modules(value) if attribute == "persistent_load" else value
            )

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    return SimpleNamespace(__name__="restricted_pickle", Unpickler=Unpickler, load=load)


def load_file(path: str | Path, *, trust: bool = False) -> LoadedFile:
    """Read a checkpoint file of any container form; nothing in it is run unless `trust`.

    Parameters
    ----------
    trust : allow plain pickle, which can run any code, where the safe readers fail

    Raises
    ------
    CheckpointError : not a checkpoint (HTML page, Git LFS pointer, ...), truncated, or not safely readable
    """
    path = weights_file(path)
    kind = container(path)
    if kind == "shards":
        return _joined(path, trust=trust)
    if kind == "npz":
        return _load_numpy(path)
    if kind == "safetensors":
        read_header(path)
        try:
            return LoadedFile(safetensors.torch.load_file(path), kind, "safetensors")
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"{path} is not a readable safetensors file ({error})") from None
    if kind == "tar":
        raise CheckpointError(
            f"{path} was written by torch before 0.4", "load and save it again with a later torch"
        )
    if kind == "zip" and is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is a program (expected weights)",
            "in a place where it may run: torch.save(torch.jit.load(FILE).state_dict(), NEW)",
        )
    return _load_pickle(path, kind, trust=trust)


def _joined(index: Path, *, trust: bool) -> LoadedFile:
    """Read all shards of an index as one state_dict."""
    tensors: dict[str, torch.Tensor] = {}
    readers: dict[str, None] = {}
    for file, names in shards(index).items():
        loaded = load_file(file, trust=trust)
        readers[loaded.reader] = None
        state = state_dict_of(loaded.root) or {}
        missing = [name for name in names if name not in state]
        if missing:
            raise CheckpointError(f"{file} has no tensor {missing[0]} (expected by {index.name})")
        tensors |= {name: state[name] for name in names}
    return LoadedFile(tensors, "shards", ", ".join(readers))


def _load_numpy(path: Path) -> LoadedFile:
    try:
        with numpy.load(path, allow_pickle=False) as archive:
            return LoadedFile({k: torch.from_numpy(v) for k, v in archive.items()}, "npz", "numpy")
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from None


def _load_pickle(path: Path, kind: str, *, trust: bool) -> LoadedFile:
    try:
        return LoadedFile(torch.load(path, map_location="cpu", weights_only=True), kind, "weights_only")
    except pickle.UnpicklingError:
        pass
    except Exception as error:
        raise _unreadable(path, error) from None
    seen: set[str] = set()
    try:
        root = torch.load(
            path, map_location="cpu", weights_only=False, pickle_module=_restricted_pickle(seen)
        )
        return LoadedFile(root, kind, "restricted", sorted(seen))
    except Exception as error:
        failure = error
    if trust:
        return _load_trusted(path, kind)
    if isinstance(failure, _WholeModelError):
        raise CheckpointError(
            f"{path} is a whole model pickled in torch's legacy form, which only its own code can read",
            "where that code is: torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)",
            "if you trust who made the file: pretrain.trust=true (rt-eval: trust=true)",
        )
    raise _unreadable(path, failure)


def _load_trusted(path: Path, kind: str) -> LoadedFile:
    try:
        return LoadedFile(torch.load(path, map_location="cpu", weights_only=False), kind, "trusted")
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return CheckpointError(f"{path} is truncated or not a torch checkpoint ({reason})")


def state_dict_of(value: Any) -> dict[str, torch.Tensor] | None:
    """Return the tensors by name of a state_dict or a (stand-in of a) module; None where there are none."""
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    elif isinstance(value, Inert):
        value = _module_tensors(value.module_state)
    if not isinstance(value, Mapping):
        return None
    tensors = {k: v.detach() for k, v in value.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    return tensors or None


def _module_tensors(state: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Walk a pickled module's state as `nn.Module.state_dict` does."""
    transient = state.get("_non_persistent_buffers_set", set())
    tensors = {f"{prefix}{name}": value for name, value in (state.get("_parameters") or {}).items()}
    for name, value in (state.get("_buffers") or {}).items():
        if name not in transient:
            tensors[f"{prefix}{name}"] = value
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Inert):
            tensors.update(_module_tensors(child.module_state, f"{prefix}{name}."))
    return tensors
