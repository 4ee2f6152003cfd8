"""Plug-ins: what the files of a package register, known without importing them.

A registry needs its names early: a catalog that names a network or a file format is checked
before torch or GDAL are loaded, which takes seconds. So names are read from the source text,
where they stand as constants: ``@network("unet")`` above a class is all there is to write.
Entry points add the names of other installed packages.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, TypeVar

from hmx.errors import BadArgument

T = TypeVar("T")


@cache
def declared(package: str, decorator: str) -> dict[str, str]:
    """Map each name that a decorator gives in the files of a package to ``module:object``.

    The package is imported, its files are not: names must be constant texts.
    """
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        loader: Any = getattr(find_spec(module.name), "loader", None)
        text = loader.get_source(module.name) or ""
        if f"\n@{decorator}(" not in text:  # parsing takes longer than this search
            continue
        for node in ast.parse(text).body:
            for call in getattr(node, "decorator_list", []):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == decorator:
                    names = [
                        str(name.value) for name in call.args if isinstance(name, ast.Constant)
                    ]
                    found |= {name: f"{module.name}:{getattr(node, 'name', '')}" for name in names}
    return found


@cache
def import_files(package: str) -> None:
    """Import every file of a package, so that each registers what it has."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


@cache
def offered(group: str) -> dict[str, EntryPoint]:
    """Map names to entry points of installed packages; read once, as it scans all packages."""
    # sorted, so that of two packages with one name the same one wins on every machine
    found = sorted(entry_points(group=group), key=_package, reverse=True)
    return {entry.name: entry for entry in found}


def load_offered(
    entry: EntryPoint,
    registered: Mapping[str, T],
    name: str,
    *,
    what: str,
    decorator: str,
    otherwise: str = "",
) -> T:
    """Import the object of an installed package, whose decorator fills ``registered``.

    The message of a failure begins with ``what``, such as ``"arch='unet'"``, and ends with what
    a user may do instead.
    """
    source = f"{what} comes from the package {_package(entry)!r}"
    try:
        entry.load()
    except Exception as error:  # an import runs any code, so it can fail in any way
        raise BadArgument(
            f"{source} ({entry.value}), which cannot be loaded: {type(error).__name__}: {error}. "
            f"Repair or uninstall {_package(entry)}{otherwise}."
        ) from error
    if name not in registered:
        raise BadArgument(
            f"{source}, and {entry.value} is not registered under this name. Write "
            f"@{decorator}({name!r}) above it."
        )
    return registered[name]


def _package(entry: EntryPoint) -> str:
    """Name the installed package that declares an entry point."""
    return entry.dist.name if entry.dist else entry.value
