"""Data folders are listed once in a command, however many checks and stages ask."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
_caches: ContextVar[dict[Any, Any] | None] = ContextVar("caches", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Take data folders as they were when this block, or the one around it, first listed them."""
    if _caches.get() is not None:
        yield
        return
    token = _caches.set({})
    try:
        yield
    finally:
        _caches.reset(token)


def once(function: Callable[Arguments, Answer], keep: int | None = None) -> Callable[Arguments, Answer]:
    """Return a function that remembers its last `keep` answers (None: all); itself outside `reading_once`."""
    caches = _caches.get()
    if caches is None:
        return function
    cached: Callable[Arguments, Answer] = caches.setdefault(function, functools.lru_cache(keep)(function))
    return cached
