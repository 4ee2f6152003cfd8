"""Laws of what an installation needs: what is imported is declared, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# distributions that are needed without an import: what pandas and xarray write and read by
UNSEEN = {
    "aiohttp": "of fsspec, for https://",
    "bokeh": "of Dask's dashboard",
    "cftime": "of xarray, for other calendars",
    "cryptography": "of distributed, for certificates",
    "boto3": "of rasterio, for s3://",
    "netcdf4": "of xarray",
    "s3fs": "of fsspec, for s3://",
    "openpyxl": "of pandas, for spreadsheets",
    "pyarrow": "of pandas, for Parquet",
}


def name_of(requirement: str) -> str:
    return re.split(r"[\s;<>=!~\[]", requirement)[0].lower().replace("_", "-")


BASE = {name_of(one) for one in PROJECT["dependencies"]}
EXTRAS = {
    extra: {name_of(one) for one in found if not one.startswith("hmx[")}
    for extra, found in PROJECT["optional-dependencies"].items()
    if extra not in ("test", "dev")
}


@cache
def found() -> list[tuple[str, Path, bool]]:
    """List each imported package of others, the file, and whether importing that file needs it."""
    listed = []
    for path in sorted(path for top in ("hmx", "cli") for path in (ROOT / top).rglob("*.py")):
        for name, at_once in imports(ast.parse(path.read_text())):
            package = name.partition(".")[0]
            if package not in sys.stdlib_module_names and package not in ("hmx", "__future__"):
                listed.append((package, path, at_once))
    return listed


def imports(node: ast.AST, *, at_once: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield each imported module below a node, and whether loading the file imports it."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, at_once) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module, at_once
    later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try)
    for child in ast.iter_child_nodes(node):
        yield from imports(child, at_once=at_once and not later)


packages = cache(metadata.packages_distributions)


def distributions(package: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in packages().get(package, [package])}


def test_what_is_imported_is_declared() -> None:
    known = BASE.union(*EXTRAS.values())
    where = {package: path.relative_to(ROOT) for package, path, _ in found()}
    assert len(where) > 20
    missing = {package for package in where if not distributions(package) & known}
    assert not {f"{package} of {where[package]} is not in pyproject.toml" for package in missing}


def test_what_an_extra_brings_is_imported_where_it_is_used() -> None:
    extra = set().union(*EXTRAS.values()) - BASE
    early = {
        f"{package} in {path.relative_to(ROOT)}"
        for package, path, at_once in found()
        if at_once and distributions(package) <= extra
    }
    assert early == set()


def test_what_is_declared_is_needed() -> None:
    used = set().union(*(distributions(package) for package, _, _ in found()))
    declared = BASE.union(*EXTRAS.values())
    assert declared - used - UNSEEN.keys() == set()


def test_every_extra_is_tested() -> None:
    tested = {
        name
        for one in PROJECT["optional-dependencies"]["test"]
        if one.startswith("hmx[")
        for name in one[4:].rstrip("]").split(",")
    }
    assert tested >= EXTRAS.keys()
    assert any(one.startswith("hmx[test]") for one in PROJECT["optional-dependencies"]["dev"])
