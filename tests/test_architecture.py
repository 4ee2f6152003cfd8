"""The shape of the code, read from its source text."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from hmx.plugins import declared
from tests import house
from tests.house import ROOMS, Source

ROOT = Path(__file__).resolve().parents[1]

APART = {"forecast": {"mapping"}, "engine": {"forecast", "mapping", "catalog"}}
HOMES = {
    "torch": {"networks", "hardware", "training", "forecast", "mapping"},
    "pytorch_lightning": {"training", "forecast", "mapping"},
    "lightning": {"training", "forecast", "mapping"},
    "wandb": {"training", "bundles"},
    "click": {"cli"},
    "matplotlib": {"products", "pictures", "report"},
    "distributed": {"engine"},
}

# Where the names of a registry are declared: by which decorator, in which package
REGISTRIES = {
    "network": "hmx.networks",
    "mapper": "hmx.networks",
    "baseline": "hmx.forecast.backtest.baselines",
    "reader": "hmx.ingest.readers",
    "split_method": "hmx.splits",
    "metric": "hmx.scores",
}
# Lists of file endings that are no lists of readers: rasters that GDAL needs no sidecars of, what
# `hmx export` writes, and hints for a user who gives a raster as a catalog.
OTHER_LISTS = {"hmx.files.remote", "hmx.products.series", "hmx.files.yamlfile"}


# Calls of users, whose keywords are their documentation: up to 12
FACE = {
    ("hmx.forecast.api", "train"),
    ("hmx.forecast.api", "forecast"),
    ("hmx.forecast.backtest.backtest", "backtest"),
    ("hmx.mapping.api", "evaluate"),
    ("hmx.mapping.predict", "predict"),
    ("hmx.points.table", "read_points"),
}

SOURCES = house.sources()


def runtime_imports(source: Source) -> list[str]:
    """Every imported module, but for those that only type checkers read."""
    typing_only = {
        node
        for block in ast.walk(source.tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for part in block.body
        for node in ast.walk(part)
    }
    found = []
    for node in ast.walk(source.tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def test_imports_point_one_way() -> None:
    wrong = []
    for source in SOURCES:
        room = source.room
        assert room in ROOMS, (
            f"{source.path} is in no room: give {room!r} a floor in tests/house.py"
        )
        for module in house.imports(source):
            other = [*module.split("."), ""][1] if module.startswith("hmx.") else ""
            if other in ROOMS and other not in ("", room):
                below = ROOMS.index(other) < ROOMS.index(room)
                if not below or other in APART.get(room, ()):
                    wrong.append(f"{source.name} imports {module}")
    assert not wrong


def test_heavy_libraries_stay_at_home() -> None:
    away = [
        f"{source.name} imports {module}"
        for source in SOURCES
        for module in runtime_imports(source)
        if source.room not in HOMES.get(module.split(".")[0], {source.room})
    ]
    assert not away


def test_functions_and_files_stay_small() -> None:
    """A function is one thought of at most 60 lines; whoever calls it passes 9 things at most."""
    large = [
        f"{source.path} has {source.lines.total} lines"
        for source in SOURCES
        if source.lines.total > 400
    ]
    functions = (
        (source.name, node)
        for source in SOURCES
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef)
    )
    for file, node in functions:
        doc = ast.get_docstring(node, clean=False) or ""
        lines = (node.end_lineno or 0) - node.lineno + 1 - len(doc.splitlines())
        if lines > 60:
            large.append(f"{file}.{node.name} has {lines} lines")
        named = {each.arg for each in (*node.args.args, *node.args.kwonlyargs)} - {"self", "cls"}
        if len(named) > (12 if (file, node.name) in FACE else 9):
            large.append(f"{file}.{node.name} has {len(named)} arguments")
    assert not large


def test_no_list_repeats_a_registry() -> None:
    """What is registered is listed by its registry alone, or a new file would be forgotten."""
    registries = {one: set(declared(package, one)) for one, package in REGISTRIES.items()}
    lists = (
        (source.name, node)
        for source in SOURCES
        if source.name not in OTHER_LISTS
        for node in ast.walk(source.tree)
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict)
    )
    wrong = []
    for file, node in lists:
        parts = node.keys if isinstance(node, ast.Dict) else node.elts
        words = {part.value for part in parts if isinstance(part, ast.Constant)}
        for decorator, registered in registries.items():
            if len(known := words & registered) > 1:
                wrong.append(f"{file}:{node.lineno} lists {known}, as {REGISTRIES[decorator]} does")
    assert not wrong


def test_options_stand_in_the_rooms_that_use_them() -> None:
    """The catalog collects sections: all but those of its own products extend options of rooms."""
    own = {"ReportSection", "StockSection", "BaseCatalog"}
    for source in SOURCES:
        for node in source.tree.body if source.room == "catalog" else ():
            if isinstance(node, ast.ClassDef) and node.name not in own:
                assert "Options" not in map(ast.unparse, node.bases), f"{source.name}.{node.name}"


def test_import_hmx_loads_nothing_heavy() -> None:
    heavy = {"torch", "pytorch_lightning", "distributed", "wandb", "rasterio"}
    code = f"import sys, hmx, hmx.cli.main, hmx.catalog; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_file_imports_one_that_imports_it() -> None:
    """Not even through others, inside a function or for a type checker."""
    assert not house.circles(house.files(SOURCES))


def test_the_house_is_as_high_as_it_was_planned() -> None:
    assert len(list((ROOT / "hmx").glob("*.py"))) <= 14
    assert house.floors(house.arrows(SOURCES)) <= 9


def test_a_class_name_has_one_meaning() -> None:
    assert not house.twice(SOURCES)


def test_every_package_is_installed() -> None:
    """An editable install would hide one that is missing from the list."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {path.parent.relative_to(ROOT) for path in (ROOT / "hmx").rglob("__init__.py")}
    wanted = {".".join(path.parts) for path in found} | {"hmx.cli", "hmx.catalogs"}
    assert set(listed["tool"]["setuptools"]["packages"]) == wanted


def test_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)[:`]", text):
        assert any((ROOT / base / name).is_file() for base in ("", "hmx")), name
