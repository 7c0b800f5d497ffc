"""What the rooms of the package may import: the rules, and a checker that reads any source tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "robust_transfer"
# From top to bottom; a room imports from lower floors only, and within a floor one way only.
FLOORS = (
    ("cli",),
    ("pipeline",),
    ("evaluation",),
    ("training",),
    ("objectives", "report"),
    ("attacks", "smoothing"),
    ("data", "models"),
    ("store", "distributed"),
    ("config",),
    ("core",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Beside the order: all that these import of ours, and what those never import.
ONLY = {"attacks": {"core", "models"}, "smoothing": {"core", "models"}}
NEVER = {
    "data": {"store", "pipeline"},
    "models": {"store", "pipeline"},
    "report": {"evaluation", "training"},
    "evaluation": {"report"},
    "training": {"report"},
}
DOORS = {
    "hydra": "cli/",
    "omegaconf": "cli/",
    "torch.distributed": "distributed/",
}
SEEDING = {"manual_seed", "manual_seed_all", "seed", "default_rng", "RandomState", "Philox", "SeedSequence"}
SEEDERS = {"core/rng.py"}


@dataclass(frozen=True)
class Source:
    """One file of the package: its name inside it, its syntax tree, the dotted names that it imports."""

    name: str
    tree: ast.Module
    imports: frozenset[str]

    @property
    def room(self) -> str:
        return self.name.split("/")[0]


def sources(root: Path) -> list[Source]:
    """Read every file of a package whose folder is `root`, but for those beside its rooms."""
    read = []
    for path in sorted(root.rglob("*.py")):
        if path.parent == root:
            continue
        name = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text())
        read.append(Source(name, tree, frozenset(_imported(tree, name))))
    return read


def _imported(tree: ast.Module, name: str) -> Iterator[str]:
    """Yield the names imported anywhere in a file, from inside functions too."""
    package = [PACKAGE, *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def _rooms(source: Source) -> set[str]:
    parts = (name.split(".") for name in source.imports)
    return {part[1] for part in parts if part[0] == PACKAGE and len(part) > 1} - {source.room}


def violations(root: Path) -> set[str]:
    """Return every breach of the rules under `root`, as `file -> what it may not import or call`."""
    read = sources(root)
    checks = (unknown_rooms, order, independence, one_way, doors, seeding, printing, circles)
    return {breach for check in checks for breach in check(read)}


def unknown_rooms(read: list[Source]) -> set[str]:
    return {f"{s.name} -> no room of that name" for s in read if s.room not in FLOOR}


def order(read: list[Source]) -> set[str]:
    return {
        f"{s.name} -> {room} above it"
        for s in read
        for room in _rooms(s) & FLOOR.keys()
        if s.room in FLOOR and FLOOR[room] < FLOOR[s.room]
    }


def independence(read: list[Source]) -> set[str]:
    breaches = set()
    for source in read:
        rooms = _rooms(source) & FLOOR.keys()
        forbidden = rooms - ONLY.get(source.room, rooms) | rooms & NEVER.get(source.room, set())
        breaches |= {f"{source.name} -> {room}, which {source.room} does not know" for room in forbidden}
    return breaches


def one_way(read: list[Source]) -> set[str]:
    edges = {(s.room, room) for s in read for room in _rooms(s)}
    level = [(a, b) for a, b in edges if a in FLOOR and b in FLOOR and FLOOR[a] == FLOOR[b]]
    return {f"{a} <-> {b} on one floor" for a, b in level if a < b and (b, a) in edges}


def doors(read: list[Source]) -> set[str]:
    return {
        f"{s.name} -> {door}"
        for s in read
        for door, keeper in DOORS.items()
        if not s.name.startswith(keeper) and any(f"{name}.".startswith(f"{door}.") for name in s.imports)
    }


def _calls(source: Source) -> Iterator[ast.expr]:
    return (node.func for node in ast.walk(source.tree) if isinstance(node, ast.Call))


def seeding(read: list[Source]) -> set[str]:
    return {
        f"{s.name} -> {name}()"
        for s in read
        if s.name not in SEEDERS
        for called in _calls(s)
        if (name := getattr(called, "attr", getattr(called, "id", ""))) in SEEDING
    }


def printing(read: list[Source]) -> set[str]:
    return {
        f"{s.name} -> print()"
        for s in read
        if s.room != "cli"
        for called in _calls(s)
        if isinstance(called, ast.Name) and called.id == "print"
    }


def circles(read: list[Source]) -> set[str]:
    """Return the files that import one another in a circle, through any number of others."""
    names = {s.name for s in read}
    edges = {s.name: {f for name in s.imports for f in _files(name, names)} - {s.name} for s in read}
    reach = {name: _reached(name, edges) for name in edges}
    return {f"{a} <-> {b} in a circle" for a in reach for b in reach[a] if a < b and a in reach[b]}


def _files(dotted: str, names: set[str]) -> Iterator[str]:
    """Yield the files of ours that `from a.b import c` reads: a/b/c.py, or else a/b.py or a/b/__init__.py."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE:
        return
    for end in (len(parts), len(parts) - 1):
        stem = "/".join(parts[1:end])
        hits = {f"{stem}.py", f"{stem}/__init__.py"} & names
        if hits:
            yield from hits
            return


def _reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(edges[name])
    return reached
