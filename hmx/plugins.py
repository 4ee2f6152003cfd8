"""Plug-ins: what the files of a package register, known without importing them.

A registry needs its names early: a catalog that names a network or a file format is checked
before torch or GDAL are loaded, which takes seconds. So names are read from the source text,
where they stand as constants: ``@network("unet")`` above a class is all there is to write.
"""

from __future__ import annotations

import ast
import pkgutil
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@cache
def declared(package: str, decorator: str) -> dict[str, str]:
    """Map each name that a decorator gives in the files of a package to ``module:object``.

    Parameters
    ----------
    package : str
        Dotted name; it is imported, its files are not.
    decorator : str
        Name of a decorator whose positional arguments are constant texts.
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
