"""Mutants: models and catalogs with something wrong in them, the same ones for a seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

NAN, HUGE = float("nan"), 10**20
# what stands where something else should
WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 0.5, -0.5, 1e-300, 1e300, 10**9, HUGE, -HUGE, NAN,
    float("inf"), float("-inf"), "", " ", "x", "hm", "1e3", "../../x", "\x00", "é" * 300,
    "y" * 5000, [], {}, [[]], [None], [1, 1], [NAN], [-1, 0], {"": 1}, {"x": {"y": []}},
    ["a", 1, None], list(range(300)), [[1.0, 2.0], [3.0]],
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every place in JSON values, but of long lists only the first and last entries."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        shown = range(len(value)) if len(value) <= 6 else (0, 1, len(value) - 1)
        for index in shown:
            yield from places(value[index], (*path, index))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with something else at a place."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutated(value: Any, rng: random.Random, path: tuple[Any, ...]) -> Any:
    """Put something wrong at a place: another value, one key less or more, another order."""
    had = at(value, path)
    way = rng.randrange(8)
    if way == 0 and isinstance(had, dict) and had:
        gone = rng.choice(list(had))
        return put(value, path, {k: v for k, v in had.items() if k != gone})
    if way == 1 and isinstance(had, dict):
        return put(value, path, {**had, rng.choice(["extra", "", "h", "__class__"]): 1})
    if way == 2 and isinstance(had, list) and had:
        return put(value, path, rng.choice([had[1:], had[::-1], had + had, had[:-1]]))
    if way == 3 and isinstance(had, int | float) and not isinstance(had, bool):
        return put(value, path, rng.choice([-had, had * 2, had + 1, had * 1e6, str(had), [had]]))
    return put(value, path, copy.deepcopy(rng.choice(WRONG)))


def _torn(text: bytes, rng: random.Random) -> bytes:
    """Damage bytes: cut, flipped, repeated, nested, or of another kind altogether."""
    middle = rng.randrange(len(text))
    return rng.choice(
        [
            text[:middle],
            text[:middle] + bytes([rng.randrange(256)]) + text[middle + 1 :],
            text[:middle] + text[max(0, middle - 20) :],
            b"[" * 50_000,
            b'{"a":' * 50_000,
            b"",
            b"[]",
            b"null",
            b"\xff\xfe" + text,
            b'{"format": ' + b"9" * 5000 + b"}",
            text.replace(b"1", b"1" * 30, 3),
        ]
    )


def _changed_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Damage an array: another shape, type, or values."""
    draw = np.random.default_rng(rng.randrange(2**32))
    spoilt = array.copy()
    if spoilt.size:
        spot = tuple(draw.integers(size) for size in spoilt.shape)
        spoilt[spot] = rng.choice(
            [np.nan, np.inf, 1e30] if spoilt.dtype.kind == "f" else [-7, 10**4]
        )
    kinds = ("float64", "float16", "int32", "int64", "uint8", "bool")
    wild = draw.integers(-5, 10**4, array.shape)
    return rng.choice(
        [
            lambda: spoilt,
            lambda: spoilt,
            lambda: np.nan_to_num(array).astype(rng.choice(kinds)),
            lambda: array[:-1] if array.ndim else array[None],
            lambda: array[None],
            lambda: array.reshape(-1)[::-1].copy(),
            lambda: wild.astype(array.dtype),
            lambda: np.zeros_like(array),
            lambda: np.zeros((0, *array.shape[1:]), array.dtype),
        ]
    )()


def bundle_mutant(model: Path, out: Path, rng: random.Random) -> str:
    """Write a damaged copy of a model; return what kind of damage it is."""
    out.mkdir(parents=True, exist_ok=True)
    text = (model / "bundle.json").read_bytes()
    arrays = load_file(model / "weights.safetensors")
    weights = (model / "weights.safetensors").read_bytes()
    kind = rng.choice(["value"] * 6 + ["text", "arrays", "arrays", "bytes"])
    if kind == "value":
        raw = json.loads(text)
        found = list(places(raw))
        for _ in range(rng.choice([1, 1, 1, 2])):
            path = rng.choice([p for p in found if p[:1] != ("weights",) or rng.random() < 0.1])
            try:
                raw = mutated(raw, rng, path)
            except (KeyError, IndexError, TypeError):  # gone with an earlier change
                continue
        text = json.dumps(raw).encode("utf-8", "surrogatepass")
    elif kind == "text":
        text = _torn(text, rng)
    elif kind == "bytes":
        weights = _torn(weights, rng)
    else:
        name = rng.choice(sorted(arrays))
        arrays[name] = _changed_array(arrays[name], rng)
        if rng.random() < 0.1:
            arrays[f"{name}.more"] = arrays.pop(name)
        save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, out / "w")
        weights = (out / "w").read_bytes()
        if rng.random() < 0.7:  # with a description that agrees
            raw = json.loads(text)
            raw["weights"] = {n: list(a.shape) for n, a in sorted(arrays.items())}
            text = json.dumps(raw).encode()
    (out / "bundle.json").write_bytes(text)
    (out / "weights.safetensors").write_bytes(weights)
    return kind


def catalog_mutants(raw: dict[str, Any], rng: random.Random, count: int) -> Iterator[bytes]:
    """Write catalogs with a wrong value at every key in turn, then with broken structure."""
    found = [path for path in places(raw) if path]
    rng.shuffle(found)
    for number in range(count):
        if number % 4 == 3:
            yield _broken(_yaml(raw), rng)
            continue
        path = found[number % len(found)]
        yield _yaml(mutated(raw, rng, path)).encode("utf-8", "surrogatepass")


def _yaml(raw: Any) -> str:
    import yaml

    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def _broken(text: str, rng: random.Random) -> bytes:
    """Break the structure of YAML."""
    lines = text.splitlines()
    spot = rng.randrange(len(lines))
    line = lines[spot]
    ways: list[Callable[[], list[str]]] = [
        lambda: [*lines[:spot], line, *lines[spot:]],
        lambda: [*lines[:spot], "\t" + line, *lines[spot + 1 :]],
        lambda: [*lines[:spot], " " + line, *lines[spot + 1 :]],
        lambda: [*lines[:spot], line.replace(":", "", 1), *lines[spot + 1 :]],
        lambda: [*lines[:spot], line + rng.choice("[{\"'&*!|>%@`:#"), *lines[spot + 1 :]],
        lambda: [
            *lines[:spot],
            line.replace(":", ": !!python/name:os.system", 1),
            *lines[spot + 1 :],
        ],
        lambda: [*lines[:spot], "---", *lines[spot:]],
        lambda: [*lines, f"anchor: &a [{'[' * rng.randrange(60)}*a", "]"],
        lambda: [*lines, "1990: x"],
        lambda: [*lines, "a: &a {b: *a}"],
        lambda: [*lines, "<<: {hmx: 2, name: 3}"],
        lambda: [*lines[:spot], *reversed(lines[spot:])],
        lambda: [rng.choice(["[]", "null", "42", "[" * 5000, "a: b: c", "", "\x07"])],
    ]
    data = "\n".join(rng.choice(ways)()).encode()
    return rng.choice([data, data, data, data[: rng.randrange(len(data) + 1)], data + b"\xff\xfe"])
