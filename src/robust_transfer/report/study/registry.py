"""Every table there is: the quickstart's, the natural study's, the methods', the paper's, other packages'."""

from __future__ import annotations

from functools import cache

from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.extensions import extensions
from robust_transfer.report.study import methods, natural, paper, quickstart
from robust_transfer.report.study.spec import TableSpec

GROUP = "robust_transfer.tables"


@cache
def tables() -> dict[str, TableSpec]:
    """Return every table by its name, in the order of a report."""
    photographs = (*natural.TABLES, *natural.OTHERS)
    own = (quickstart.TABLE, *photographs, *methods.TABLES, *paper.TABLES)
    by_name = {spec.name: spec for spec in own}
    for extension in extensions(GROUP):
        spec = extension.load(TableSpec)
        extension.add_to(by_name, spec.name, spec)
    return by_name


def find(name: str) -> TableSpec:
    """Return a table by its name, or raise ConfigError naming the nearest."""
    if name not in tables():
        raise ConfigError(
            f"table '{name}' is not known (expected {', '.join(tables())})", did_you_mean(name, tables())
        )
    return tables()[name]
