"""Hydra's config files, read and parsed once per session."""

from __future__ import annotations

import copy
from typing import Any


class ReadOnce:
    """Hydra's repository of config files, each read and parsed once per session.

    Hydra copies its repository for every composition and every list of a group's choices; the copy is this
    one again. A composition merges into what it loaded, so each gets a copy of that.
    """

    def __init__(self, repository: Any) -> None:
        self._repository = repository
        self._loaded: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadOnce:
        return self

    def __reduce__(self) -> tuple[type[ReadOnce], tuple[Any]]:
        """Pickle for the way to a launcher's job, which reads the files itself."""
        return ReadOnce, (self._repository,)

    def load_config(self, config_path: str) -> Any:
        """Return a config file's content, None for a file that does not exist."""
        if config_path not in self._loaded:
            self._loaded[config_path] = self._repository.load_config(config_path)
        return copy.deepcopy(self._loaded[config_path])
