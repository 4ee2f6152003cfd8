"""YAML of a catalog: plain values, or an error that names the wrong line.

YAML can express far more than a catalog needs, and some of it is read otherwise than it looks:
of two equal keys the last wins, ``1990:`` and ``true:`` are not texts, an anchor can hold
itself or grow to billions of values, a tag can name any Python object. All of this is
refused where it stands. What is left are mappings with text keys, lists, texts, numbers,
dates, truth values and nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hmx.errors import CatalogError
from hmx.files.paths import kind, regular

LARGEST = 1_000_000  # bytes of a catalog; ten thousand years listed one by one are 60,000
DEEPEST = 32  # mappings and lists inside each other; a catalog has six
MOST = 50_000  # values, those behind anchors each time they are used
LONGEST = 400  # digits of a number: float64 ends at 309, and int() takes its time from 4,300

# Tags of YAML 1.1 that give a plain value. Absent on purpose: !!binary, !!set, !!omap and
# !!python/..., which would build objects.
_PLAIN = {"str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge"}
_BINARY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits and without surprises."""

    def __init__(self, text: str):
        super().__init__(text)
        self.depth = self.count = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > DEEPEST:
            raise _problem(self._here(), f"it is nested more than {DEEPEST} deep")
        if self.count > MOST:
            raise _problem(self._here(), f"it has more than {MOST:,} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _here(self) -> Any:
        peek: Any = self.peek_event  # which types-PyYAML leaves without types
        return peek()

    def get_single_data(self, *, whole: bool = False) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        if whole and self.buffer[node.end_mark.index :].strip("\0 \t\r\n"):
            raise _problem(node, "a # after a blank begins a comment. Put the text in quotes")
        _weigh(node, (), [0])
        try:
            return self.construct_document(node)
        except (KeyError, AttributeError, TypeError):  # !!bool maybe, !!timestamp soon
            raise _problem(node, "a value does not fit its tag (!!). Take the tag out") from None

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)  # what << brings comes first, and own keys stand above it
        return super().construct_mapping(node, deep=deep)


def _problem(at: Any, words: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=words, problem_mark=at.start_mark)


def _weigh(node: Node, above: tuple[Node, ...], total: list[int]) -> None:
    """Walk all values as they would be built, anchors each time; refuse what is not a catalog."""
    total[0] += 1
    if total[0] > MOST:
        raise _problem(node, f"its anchors make more than {MOST:,} values of it")
    if len(above) >= DEEPEST or any(node is other for other in above):
        raise _problem(node, "an anchor holds itself, or nests too deep")
    _require_plain(node)
    if isinstance(node, SequenceNode):
        for inner in node.value:
            _weigh(inner, (*above, node), total)
    elif isinstance(node, MappingNode):
        _require_keys(node)
        for _, inner in node.value:
            _weigh(inner, (*above, node), total)


def _require_plain(node: Node) -> None:
    """Refuse tags of anything but plain values, and numbers that take minutes to read."""
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if kind not in _PLAIN:
        name = f"!!{kind}" if kind != node.tag else kind
        raise _problem(node, f"{name} is a tag, and a catalog has plain values. Take it out")
    if kind in ("int", "float") and len(node.value) > LONGEST:
        raise _problem(node, f"a number has at most {LONGEST} digits")


def _require_keys(node: MappingNode) -> None:
    """Refuse keys that are neither texts nor whole numbers, and keys that stand twice."""
    first: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        name = key.value if isinstance(key, ScalarNode) else "[...]"
        if key.tag == "tag:yaml.org,2002:int":  # a code of a class is a name, and stays as written
            key.tag = "tag:yaml.org,2002:str"
        if key.tag != "tag:yaml.org,2002:str":
            raise _problem(
                key, f"the key {name} is not a text. Put it in quotes: {str(name)!r}: ..."
            )
        line = key.start_mark.line + 1
        if name in first:
            raise _problem(
                key,
                f"the key {name!r} stands here and at line {first[name]}, and only one of them "
                "can hold. Take one out",
            )
        first[name] = line


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values."""
    try:
        text = _text(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CatalogError(f"{path} cannot be read as a catalog: {why}.{_meant(path)}") from None
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise CatalogError(f"{path} is not YAML{place}: {_why(error)}.{_meant(path)}") from None
    except (ValueError, OverflowError) as error:  # a date such as 2020-13-45
        raise CatalogError(f"{path} has an impossible value: {error}.") from None


_RASTERS = (".tif", ".tiff", ".vrt", ".nc", ".jp2", ".img")
_TABLES = (".csv", ".tsv", ".gpkg", ".shp", ".geojson", ".parquet", ".xlsx")


def _meant(path: Path) -> str:
    """Name what takes a file or folder of another kind, by its contents."""
    # os.path answers False where pathlib raises: for a path that is too long
    name = path.name.lower()
    if any(os.path.isfile(path / name) for name in ("zarr.json", ".zgroup")):
        return (
            " It is a Zarr store, which hmx info, export, report and verify take: "
            f"hmx info {path}. In Python: hmx.open_cube({str(path)!r})"
        )
    if os.path.isfile(path / "bundle.json"):
        return f" It is a model: hmx info {path} describes it, hmx.load({str(path)!r}) opens it."
    if os.path.isdir(path):
        return f" hmx init {path} writes a catalog of the rasters in a folder."
    if name.endswith(_RASTERS):
        return f" It is a raster: hmx init {path.parent} writes a catalog of those in its folder."
    if name.endswith(_TABLES):
        return (
            " It is a table, which a catalog names: points: {path: " + path.name + "}. "
            f"hmx init {path.parent} writes one if rasters lie next to it."
        )
    return ""


def _why(error: yaml.YAMLError) -> str:
    """Explain what is wrong in words that name the remedy where YAML's own do not."""
    why = str(getattr(error, "problem", None) or "it cannot be read")
    if "'\\t'" in why:
        return "a tab indents or starts a value, and YAML takes blanks alone. Replace tabs"
    if "another document" in why:
        return "a second document begins (---), and a catalog is one. Keep one of them"
    return why


def _text(path: Path) -> str:
    """Read a small regular file of UTF-8 text; nothing else is opened, as a FIFO would wait."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"it is {kind(status.st_mode)}, and a catalog is a file of YAML text")
    if status.st_size > LARGEST:
        raise ValueError(f"it has {status.st_size:,} bytes, and a catalog at most {LARGEST:,}")
    with regular(path) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes, which is most for a catalog")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"byte 0x{data[error.start]:02x} in line {line} is not UTF-8 text. Save it as UTF-8"
        ) from None
    if found := _BINARY.search(text):
        line = text[: found.start()].count("\n") + 1
        raise ValueError(f"line {line} holds binary data, and a catalog is YAML text")
    return text


def parse_yaml(text: str, *, whole: bool = False) -> Any:
    """Parse YAML in which ``{year}`` and ``${NAME}`` need no quotes, also inside braces."""
    # YAML reads {year} as a mapping. Marks of the private use area stand for the braces while it is
    # parsed.
    marked = re.sub(r"\{(\w+)\}", "\ue000\\1\ue001", text)  # same length: error columns stay true
    loader = _Loader(marked)
    try:
        return _unmarked(loader.get_single_data(whole=whole))
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep") from None
    finally:
        loader.dispose()


def _unmarked(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\ue000", "{").replace("\ue001", "}")
    if isinstance(value, dict):
        return {_unmarked(key): _unmarked(inner) for key, inner in value.items()}
    return [_unmarked(inner) for inner in value] if isinstance(value, list) else value
