"""The shape of the code, read from its source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each module may import from its own layer and from those above it in this list.
LAYERS = [
    {"errors", "redact"},
    {
        "options",
        "map_options",
        "map_train_options",
        "mapping_options",
        "split_options",
        "provenance",
        "progress",
        "windows",
        "durable",
        "jsontext",
        "paths",
        "independent",
        "names",
        "lock",
        "remote_models",
        "parsing",
        "bounds",
        "yamlfile",
        "places",
        "regular",
        "distribution",
    },
    {
        "census",
        "coordinates",
        "declarations",
        "geojson",
        "grid",
        "values",
        "cadence",
        "dates",
        "timeaxis",
        "folds",
        "holdout",
        "catalog",
        "sections",
        "source_options",
        "map_sections",
        "scaling",
        "metrics",
        "regression",
        "calibration",
        "conformal",
        "boxes",
        "terrain",
        "context",
        "covariates",
        "axes",
        "observed",
    },
    {"geozarr", "integrity"},
    {"cube"},
    {"bands"},
    {"figures"},
    {"stamps", "current", "mosaic", "recipe", "draft", "sources", "tiling", "timeline", "warping"},
    {"ingest"},
    {"spec", "map_spec", "targets"},
    {"points", "forest", "applicability"},
    {"described"},
    {"modelfolder"},
    {"bundle"},
    {"map_bundle"},
    {"loading"},
    {"models"},
    {"samples"},
    {"predict"},
    {"learn"},
    {"evaluate"},
    {"products", "describe", "describe_mapper"},
    {"workflow"},
    {"map_workflow"},
    {"accessor", "soc_accessor", "held"},
    {""},  # hmx/__init__.py
    {"cli"},
]
HOMES = {
    "torch": {"models", "samples", "predict", "learn"},
    "pytorch_lightning": {"learn"},
    "lightning": {"learn"},
    "wandb": {"learn", "remote_models"},
    "click": {"cli"},
    "matplotlib": {"products", "figures"},
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
    """Every imported module, also inside functions, but not under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for part in block.body
        for node in ast.walk(part)
    }
    found = []
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def layer(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    raise AssertionError(f"module {name!r} has no layer: give it one in LAYERS")


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda v: str(v).rpartition("/")[2])
def test_imports_point_one_way(name: str, path: Path) -> None:
    for module in imports(path):
        if module == "hmx" or module.startswith("hmx."):
            other = [*module.split("."), ""][1]
            assert layer(other) <= layer(name), f"{path} imports {module}"


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
