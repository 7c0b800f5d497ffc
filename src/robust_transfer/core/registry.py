"""From a config dataclass to what it builds; parts that live in other packages come by entry points."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from robust_transfer.core.errors import ConfigError, did_you_mean

Built = TypeVar("Built")
Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry(Generic[Built]):
    """Builders of one kind of part, each found by the exact type of its config.

    Parameters
    ----------
    kind : the part's name in error messages, such as "objective"
    group : entry-point group; loading one of its entries must register a builder here
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._builders: dict[type, Callable[..., Built]] = {}
        self._loaded = False

    def register(self, config_type: type) -> Callable[[Builder], Builder]:
        """Decorate the builder of `config_type`: a function or class called with the config first."""
        assert config_type not in self._builders, f"{config_type.__name__} has two builders"

        def decorate(builder: Builder) -> Builder:
            self._builders[config_type] = builder
            return builder

        return decorate

    def build(self, config: Any, *args: Any, **options: Any) -> Built:
        """Build the part that `config` describes, or raise ConfigError naming the nearest known config."""
        found = type(config)
        if found not in self._builders and not self._loaded:
            for entry in entry_points(group=self.group):
                entry.load()
            self._loaded = True
        if found not in self._builders:
            raise ConfigError(
                f"no {self.kind} is built from a {found.__name__}", did_you_mean(found.__name__, self.names())
            )
        return self._builders[found](config, *args, **options)

    def names(self) -> list[str]:
        """Return the names of the config types that have a builder, sorted."""
        return sorted(config_type.__name__ for config_type in self._builders)
