"""Reading: the file of a catalog, with the values that a command line puts into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hmx.engine.options import PLACES
from hmx.errors import CatalogError, did_you_mean
from hmx.files.paths import absolute
from hmx.files.yamlfile import parse_yaml, read_yaml
from hmx.mapping.options import STUDY_NAMES
from hmx.networks.names import NETWORK_NAMES
from hmx.settings import Verbatim

SUFFIXES = (".yaml", ".yml")
# one name for each option that has several
_SPELLINGS = {**STUDY_NAMES, **NETWORK_NAMES, "year": "time", "distance_km": "validation_km"}
_SHOWN = 10  # catalogs that a message lists


def is_catalog(path: str | Path) -> bool:
    """Return True if a path has the suffix of a catalog; stores and models have others."""
    return str(path).lower().endswith(SUFFIXES)


def raw_catalog(
    path: str | Path, overrides: Sequence[str], flags: Mapping[str, object], keys: Iterable[str]
) -> dict[str, Any]:
    """Read a catalog, whose sections are called `keys`, and write overrides and flags into it."""
    raw = _read(Path(absolute(path)), keys)
    # Flags come last: --h 4 is more explicit than --set forecast.h=2.
    changes = [*map(_override, overrides), *(_flag(*item) for item in flags.items())]
    # A catalog for a cluster has dask.cluster; with --workers 4 on a laptop both would be set,
    # and the two exclude each other.
    had, changed = raw.get("dask"), {change.key for change in changes}
    named = {key for key in PLACES if f"dask.{key}" in changed}
    if isinstance(had, dict) and named - {key for key in PLACES if had.get(key) is not None}:
        raw["dask"] = {}
    for change in changes:
        change.write(raw)
    return raw


def _read(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Read the file of a catalog."""
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise CatalogError(f"there is no catalog {str(path)!r}.{_nearby(path)}") from None
    if not isinstance(raw, dict):
        raise CatalogError(
            f"{path} holds {type(raw).__name__}, and a catalog is a mapping with the keys "
            f"{', '.join(keys)}. See catalogs/demo.yaml."
        )
    return raw


def _nearby(path: Path) -> str:
    """Name the catalog that was meant, or those that are there."""
    folder = path.parent
    try:
        names = sorted(p.name for p in folder.iterdir() if is_catalog(p))
    except OSError:
        return ""
    # demo for demo.yaml is closer than any name by edit distance.
    whole = [name for name in names if name.startswith(f"{path.name}.")]
    near = f" Did you mean {whole[0]!r}?" if whole else did_you_mean(path.name, names)
    others = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return near or (f" In its folder: {others}." if names else "")


@dataclass(frozen=True)
class _Change:
    """A value for a key path, and how a message calls where it came from."""

    key: str
    value: Any
    source: str

    def write(self, raw: dict[str, Any]) -> None:
        """Write the value into a raw catalog."""
        *parents, last = self.key.split(".")
        at = raw
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise CatalogError(f"{self.source}: {parent!r} is not a section of the catalog.")
        # what the catalog has under another spelling of the same option is replaced, too
        for other in [name for name in at if name != last and _same(str(name), last)]:
            del at[other]
        at[last] = self.value


def _same(one: str, other: str) -> bool:
    """Return True for two spellings of one option."""
    plain = one.replace("-", "_"), other.replace("-", "_")
    first, second = (_SPELLINGS.get(name, name) for name in plain)
    return first == second


def _flag(key: str, value: object) -> _Change:
    """Take the value of a flag as it is: no YAML in it is parsed, no ``${NAME}`` replaced."""
    taken = Verbatim(value) if isinstance(value, str) else value
    return _Change(key, list(taken) if isinstance(taken, tuple) else taken, f"the flag for {key}")


def _override(text: str) -> _Change:
    """Read ``key.path=value``, whose value is YAML."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise CatalogError(f"--set {text!r}: write key.path=value, e.g. forecast.h=2.")
    try:
        # whole: without it, YAML would cut "a #b" at the blank as a comment, without an error.
        return _Change(key, parse_yaml(value, whole=True), f"--set {text!r}")
    except (yaml.YAMLError, ValueError, OverflowError):
        raise CatalogError(
            f"--set {text!r}: {value!r} is not a YAML value. Quote a text with marks for the shell "
            f"and for YAML: --set \"{key}='a text: with # marks'\"."
        ) from None
