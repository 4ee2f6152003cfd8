"""Laws of what an installation needs: what is imported is declared, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

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


def imports(top: str) -> Iterator[tuple[str, Path, bool]]:
    """Yield each imported package of others, the file, and whether importing that file needs it."""
    for path in sorted((ROOT / top).rglob("*.py")):
        tree = ast.parse(path.read_text())
        lazy = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                package = name.partition(".")[0]
                if package not in sys.stdlib_module_names and package not in ("hmx", "__future__"):
                    yield package, path, id(node) not in lazy


FOUND = [*imports("hmx"), *imports("cli")]
DISTRIBUTIONS = metadata.packages_distributions()


def distributions(package: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in DISTRIBUTIONS.get(package, [package])}


@pytest.mark.parametrize("package", sorted({package for package, _, _ in FOUND}))
def test_what_is_imported_is_declared(package: str) -> None:
    known = BASE.union(*EXTRAS.values())
    where = [path.relative_to(ROOT) for found, path, _ in FOUND if found == package]
    assert distributions(package) & known, f"{package} of {where[0]} is not in pyproject.toml"


def test_what_an_extra_brings_is_imported_where_it_is_used() -> None:
    extra = set().union(*EXTRAS.values()) - BASE
    early = {
        f"{package} in {path.relative_to(ROOT)}"
        for package, path, at_once in FOUND
        if at_once and distributions(package) <= extra
    }
    assert early == set()


def test_what_is_declared_is_needed() -> None:
    used = set().union(*(distributions(package) for package, _, _ in FOUND))
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
