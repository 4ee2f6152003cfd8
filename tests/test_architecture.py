"""The shape of the code, read from its source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Rooms, floor by floor: a room imports only rooms of lower floors, or what stands before it
# on its own floor. Imports for type checkers count.
FLOORS = [
    ["redact", "errors", "progress", "independent", "files", "provenance"],
    ["windows", "settings", "hardware"],
    ["cube", "scores", "training"],
    ["bundles", "features", "uncertainty", "points", "engine"],
    ["splits", "networks", "ingest", "pictures"],
    ["forecast", "mapping"],
    ["products", "catalog"],
    ["loading", "workflow", "accessor", "soc_accessor"],
    ["", "cli"],  # "": hmx/__init__.py
]
ROOMS = [room for floor in FLOORS for room in floor]
APART = {"forecast": {"mapping"}, "engine": {"forecast", "mapping", "catalog"}}
HOMES = {
    "torch": {"networks", "hardware", "training", "forecast", "mapping"},
    "pytorch_lightning": {"training", "forecast", "mapping"},
    "lightning": {"training", "forecast", "mapping"},
    "wandb": {"training", "bundles"},
    "click": {"cli"},
    "matplotlib": {"products", "pictures"},
}


def modules() -> list[tuple[str, Path]]:
    found = [
        (path, path.relative_to(ROOT)) for d in ("hmx", "cli") for path in (ROOT / d).rglob("*.py")
    ]
    named = []
    for path, relative in found:
        parts = relative.with_suffix("").parts
        parts = ("cli",) if parts[0] == "cli" else parts[1:]
        named.append(("" if parts == ("__init__",) else parts[0], path))
    return sorted(named)


def imports(path: Path) -> list[str]:
    """Every imported module, also inside functions and for type checkers."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room_of(module: str) -> str | None:
    """Room of a module of hmx; None for modules of other packages."""
    if module != "hmx" and not module.startswith("hmx."):
        return None
    found = [*module.split("."), ""][1]
    return found if found in ROOMS else ""


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda v: str(v).rpartition("/")[2])
def test_imports_point_one_way(name: str, path: Path) -> None:
    assert name in ROOMS, f"{path} is in no room: give {name!r} a floor in FLOORS"
    for module in imports(path):
        other = room_of(module)
        if other not in (None, "", name):
            assert ROOMS.index(other) < ROOMS.index(name), f"{path} imports {module}"
            assert other not in APART.get(name, ()), f"{path} imports {module}"


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda v: str(v).rpartition("/")[2])
def test_heavy_libraries_stay_at_home(name: str, path: Path) -> None:
    for module in imports(path):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or name in homes, f"{path} imports {module}"


@pytest.mark.parametrize("name", ["accessor", "soc_accessor"])
def test_accessor_methods_are_one_call(name: str) -> None:
    tree = ast.parse((ROOT / "hmx" / f"{name}.py").read_text(encoding="utf-8"))
    accessor = next(n for n in tree.body if isinstance(n, ast.ClassDef))
    for method in accessor.body:
        if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
            continue
        body = [n for n in method.body if not isinstance(n, ast.Expr | ast.ImportFrom)]
        assert len(body) <= 4, f"{method.name} does work of its own"
        assert not any(isinstance(n, ast.For | ast.While) for n in ast.walk(method)), method.name


def test_functions_and_files_stay_small() -> None:
    for _, path in modules():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False) or ""
                lines = (node.end_lineno or 0) - node.lineno + 1 - len(doc.splitlines())
                assert lines <= 40, f"{path}: {node.name} has {lines} lines"
                arguments = len(node.args.args) + len(node.args.kwonlyargs)
                assert arguments <= 12, f"{path}: {node.name} has {arguments} arguments"


@pytest.mark.parametrize(
    "heavy", ["torch", "pytorch_lightning", "distributed", "wandb", "rasterio"]
)
def test_import_hmx_loads_nothing_heavy(heavy: str) -> None:
    code = f"import sys, hmx, hmx.cli.main; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_a_picture_of_the_imports_without_cycles() -> None:
    """Within a package, too, no module imports one that imports it."""
    graph = {}
    for _, path in modules():
        relative = path.relative_to(ROOT).with_suffix("")
        name = ".".join(relative.parts if relative.parts[0] == "hmx" else ("hmx", *relative.parts))
        graph[name.removesuffix(".__init__")] = [m for m in imports(path) if m.startswith("hmx.")]
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail, name))}"
        if name in done:
            return
        for other in graph.get(name, []):
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())
