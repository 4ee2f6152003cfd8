"""Figures of the house: files, floors, circles, and what lines are made of.

``python -m tests.house`` prints them for all rooms and ends with a table of figures and their
bars; ``python -m tests.house engine`` also lists, for a room, the private functions that are
used once. Everything is read from the source text; nothing of hmx is imported.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Rooms, floor by floor: a room imports only rooms of lower floors, or what stands before it
# on its own floor. Imports for type checkers count.
FLOORS = [
    ["redact", "errors", "progress", "independent", "plugins", "files", "provenance"],
    ["windows", "settings", "hardware"],
    ["cube", "report", "scores", "training"],
    ["bundles", "features", "uncertainty", "points", "engine", "zones"],
    ["splits", "networks", "ingest", "pictures"],
    ["forecast", "mapping"],
    ["exports", "products", "catalog", "survey"],
    ["loading", "workflow", "accessor", "soc_accessor"],
    ["", "cli", "__main__"],  # "": hmx/__init__.py
]
ROOMS = [room for floor in FLOORS for room in floor]

# Lines that a room should stay below: printed, not enforced.
BUDGET = {
    "bundles": 700, "catalog": 400, "cli": 1500, "cube": 4300, "engine": 3200, "exports": 1400,
    "features": 900, "files": 900, "forecast": 6200, "ingest": 2700, "mapping": 4300,
    "networks": 2500, "pictures": 800, "points": 3200, "products": 1200, "report": 700,
    "scores": 1800,
    "splits": 1800, "survey": 1900, "training": 700, "uncertainty": 800,
}  # fmt: skip


@dataclass
class Lines:
    """What the lines of files are made of."""

    total: int = 0
    code: int = 0
    comments: int = 0
    docstrings: int = 0
    imports: int = 0

    def __add__(self, other: Lines) -> Lines:
        return Lines(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def per_hundred(self, count: int) -> float:
        return 100 * count / max(1, self.code)


@dataclass
class Source:
    """One file of the package."""

    path: Path
    name: str  # dotted, such as hmx.cube.grid

    @property
    def room(self) -> str:
        return [*self.name.split("."), ""][1]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def lines(self) -> Lines:
        return _lines(self.path, self.tree)


def sources() -> list[Source]:
    """List every file of hmx and of the command line; each is read when it is asked for more."""
    found = []
    for path in sorted([*(ROOT / "hmx").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts if parts[0] == "hmx" else ("hmx", *parts)
        found.append(Source(path, ".".join(parts).removesuffix(".__init__")))
    return found


def _lines(path: Path, tree: ast.Module) -> Lines:
    docstrings: set[int] = set()
    imports: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings |= set(range(first.lineno, (first.end_lineno or 0) + 1))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    comments: set[int] = set()
    code: set[int] = set()
    quiet = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                comments.add(token.start[0])
            elif token.type not in quiet | {tokenize.ENCODING}:
                code |= set(range(token.start[0], token.end[0] + 1))
    code -= docstrings
    total = path.read_text(encoding="utf-8").count("\n")
    return Lines(total, len(code), len(comments), len(docstrings), len(imports))


def imports(source: Source) -> list[str]:
    """Every imported module or name, also inside functions and for type checkers."""
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def arrows(found: list[Source]) -> dict[str, set[str]]:
    """Rooms that each room imports."""
    between: dict[str, set[str]] = {}
    for source in found:
        others = {[*name.split("."), ""][1] for name in imports(source) if name.startswith("hmx.")}
        between.setdefault(source.room, set()).update((others & {*ROOMS}) - {source.room, ""})
    return between


def files(found: list[Source]) -> dict[str, set[str]]:
    """Files that each file imports."""
    names = {source.name for source in found}
    return {source.name: names & set(imports(source)) - {source.name} for source in found}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Chains of imports that come back to where they began."""
    found, done = [], set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join((*trail[trail.index(name) :], name)))
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return found


def floors(graph: dict[str, set[str]]) -> int:
    """Number of floors in use: a room stands above every floor that it imports from."""
    of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    return len({of[room] for room in graph if room in of})


def functions(found: list[Source]) -> Iterator[tuple[Source, ast.FunctionDef]]:
    """Every function and method."""
    for source in found:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield source, node


def used_once(found: list[Source], *, anywhere: bool = False) -> list[tuple[Source, str]]:
    """Private functions whose name is used once in their file, or anywhere in the package."""
    once, names = [], {source.name: _uses(source) for source in found}
    everywhere = sum(names.values(), Counter())
    for source in found:
        uses = everywhere if anywhere else names[source.name]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("_"):
                plain = not node.name.startswith("__") and not node.decorator_list
                if plain and uses[node.name] == 1:
                    once.append((source, node.name))
    return once


def _uses(source: Source) -> Counter[str]:
    nodes = ast.walk(source.tree)
    used = [node for node in nodes if isinstance(node, ast.Name | ast.Attribute)]
    return Counter(node.id if isinstance(node, ast.Name) else node.attr for node in used)


def twice(found: list[Source]) -> dict[str, list[str]]:
    """Classes of one name in several files."""
    homes: dict[str, list[str]] = {}
    for source in found:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(source.name)
    return {name: where for name, where in homes.items() if len(where) > 1}


@dataclass(frozen=True)
class Bar:
    """A figure of the house, and what it should be."""

    name: str
    value: float
    sign: str  # "<=", ">=" or "=="
    limit: float

    def holds(self) -> str:
        within = {
            "<=": self.value <= self.limit,
            ">=": self.value >= self.limit,
            "==": self.value == self.limit,
        }
        return "" if within[self.sign] else "missed"


def bars(found: list[Source]) -> list[Bar]:
    """Compute every figure that has a bar."""
    graph, lines = arrows(found), sum((source.lines for source in found), Lines())
    count = len(list(functions(found)))
    once = 100 * len(used_once(found, anywhere=True)) / count
    machines = {"forecast", "mapping", "catalog"}
    return [
        Bar("files at the top of hmx", len(list((ROOT / "hmx").glob("*.py"))), "<=", 14),
        Bar("floors", floors(graph), "<=", 9),
        Bar("circles of files, type-only imports counted", len(circles(files(found))), "==", 0),
        Bar("circles of rooms", len(circles(graph)), "==", 0),
        Bar("forecast imports mapping", "mapping" in graph["forecast"], "==", 0),
        Bar("mapping imports forecast", "forecast" in graph["mapping"], "==", 0),
        Bar("engine imports a job or the catalog", len(graph["engine"] & machines), "==", 0),
        Bar("cube imports a job or the catalog", len(graph["cube"] & machines), "==", 0),
        Bar("class names in two files", len(twice(found)), "==", 0),
        Bar("lines of hmx and cli", lines.total, "<=", 28_500),
        Bar("comments per 100 lines of code", lines.per_hundred(lines.comments), ">=", 6),
        Bar("docstring lines per 100", lines.per_hundred(lines.docstrings), "<=", 38),
        Bar("import lines per 100", lines.per_hundred(lines.imports), "<=", 9),
        Bar("private functions used once in the package, %", once, "<=", 10),
    ]


def main(rooms: list[str]) -> None:
    """Print the figures; of the rooms that are named, also what is used once."""
    found = sources()
    graph, all_once = arrows(found), used_once(found)
    total, count = Lines(), Counter(source.room for source, _ in functions(found))
    print("room          files  lines (budget)  comments  docstrings  imports  used once")
    print("                                     --- per 100 lines of code ---   of functions")
    for room in [*ROOMS, "all"]:
        mine = [source for source in found if room in (source.room, "all")]
        total = lines = sum((source.lines for source in mine), Lines())
        once = sum(source.room == room or room == "all" for source, _ in all_once)
        of = sum(count.values()) if room == "all" else count[room]
        print(
            f"{room or 'hmx':13} {len(mine):5} {lines.total:6} {BUDGET.get(room, ''):>8} "
            f"{lines.per_hundred(lines.comments):10.1f} "
            f"{lines.per_hundred(lines.docstrings):11.1f} {lines.per_hundred(lines.imports):8.1f} "
            f"{100 * once / max(1, of):9.1f} %"
        )
    print(f"lines of code: {total.code}; arrows between rooms: {sum(map(len, graph.values()))}")
    print("\nfigure                                                        is    bar")
    for bar in bars(found):
        print(f"{bar.name:55} {bar.value:8.1f} {bar.sign} {bar.limit:5} {bar.holds()}")
    for room in rooms:
        print(f"\n{room}: private functions that are used once")
        for source, name in all_once:
            if source.room == room:
                print(f"  {source.name}.{name}")


if __name__ == "__main__":
    main(sys.argv[1:])
