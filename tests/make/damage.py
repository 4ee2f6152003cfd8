"""Damage to stores: flipped bits, lost chunks, broken metadata; and what comes of it.

Used by the tests and by ``tests.bench.damage``.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import hmx
from hmx.cube.integrity.examine import verify_all
from hmx.cube.integrity.seal import COMPRESSORS, seal_store
from hmx.engine.job import Job, run
from hmx.engine.verify import verify
from hmx.errors import HmxError
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.mapping.api import soc_map
from hmx.mapping.options import MapOptions
from hmx.mapping.order import MapRun
from hmx.progress import Progress
from tests.make.cubes import make_bundle, make_cube
from tests.make.mapworlds import make_covariates, make_mapper

FORECAST: dict[str, Any] = {"h": 2, "level": [80], "tile": 32}
MAP: dict[str, Any] = {"level": [80], "tile": 16}
TRAIN: dict[str, Any] = {
    "h": 1, "history": 2, "width": 4, "trunk": [1], "context": [1], "epochs": 1, "steps": 1,
    "chip": 32, "seed": 0,
}  # fmt: skip


def seal_cube(ds: xr.Dataset, path: Path, *, chunk: int = 24) -> Path:
    """Write a cube in many small chunks, as ingest does it in large ones."""
    ds = ds.assign_attrs(hmx_status="incomplete", hmx_sources="{}", hmx_fingerprint="toy")
    encoding: dict[str, Any] = {}
    for name, variable in ds.variables.items():
        encoding[str(name)] = {"compressors": COMPRESSORS}
        if variable.ndim >= 2:
            sides = (*variable.shape[:-2], *(min(chunk, side) for side in variable.shape[-2:]))
            encoding[str(name)] |= {"chunks": sides, "fill_value": np.float32("nan")}
    ds.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    seal_store(str(path))
    return path


@dataclass(frozen=True)
class Subject:
    """A store, and what reads it.

    Parameters
    ----------
    store : Path
        Of a cube or product.
    uses : mapping
        What is done with it, by name; gives bytes.
    mend : callable, optional
        Runs the command that made it again.
    """

    store: Path
    uses: dict[str, Callable[[], bytes]]
    mend: Callable[[], object] | None = None


def subjects(folder: Path) -> dict[str, Subject]:
    """A cube of each job, and a finished forecast and map of them."""
    cube = seal_cube(make_cube((72, 80), steps=4), folder / "cube.zarr")
    bands = seal_cube(make_covariates((40, 50)), folder / "bands.zarr", chunk=20)
    model = make_bundle(make_cube((72, 80), steps=4), weights="random", calibrated=True).save(
        folder / "model"
    )
    mapper = make_mapper(hmx.open_cube(bands), calibrated=True).save(folder / "mapper")
    forecast, soc = str(folder / "forecast.zarr"), str(folder / "map.zarr")

    def make_forecast() -> str:
        ds = hmx.open_cube(cube, chunks=None)
        return run(
            Job(ForecastRun.check(ds, model, ForecastOptions(**FORECAST)), str(cube), forecast)
        )

    def make_map() -> str:
        ds = hmx.open_cube(bands, chunks=None)
        return run(Job(MapRun.check(ds, mapper, MapOptions(**MAP)), str(bands), soc))

    make_forecast()
    make_map()

    def forecast_of_it() -> bytes:
        return values(hmx.open_cube(cube).hm.forecast(model=model, **FORECAST))

    return {
        "cube": Subject(
            cube,
            {
                "forecast": forecast_of_it,
                "train": lambda: weights(hmx.open_cube(cube)),
            },
        ),
        "bands": Subject(
            bands, {"map": lambda: values(soc_map(hmx.open_cube(bands), model=mapper, **MAP))}
        ),
        "forecast": Subject(
            Path(forecast), {"open": lambda: values(hmx.open_cube(forecast))}, make_forecast
        ),
        "map": Subject(Path(soc), {"open": lambda: values(hmx.open_cube(soc))}, make_map),
    }


def values(ds: xr.Dataset) -> bytes:
    """Every value of a dataset, coordinates too, as bytes."""
    loaded = ds.load()
    return b"".join(
        str((name, v.dims, v.shape, v.dtype)).encode() + np.ascontiguousarray(v.values).tobytes()
        for name, v in sorted(loaded.variables.items(), key=lambda item: str(item[0]))
    )


def weights(ds: xr.Dataset) -> bytes:
    """The weights that a tiny model learns."""
    model = ds.hm.train(**TRAIN)
    return b"".join(model.weights[name].tobytes() for name in sorted(model.weights))


def is_chunk(file: Path) -> bool:
    """Return True for a chunk of any array."""
    return file.name != "zarr.json"


def flip(file: Path, draw: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def lose(file: Path, draw: random.Random) -> None:
    """Lose a file."""
    file.unlink()


def spoil(file: Path, draw: random.Random) -> None:
    """Tear a metadata file, empty it, fill it with something else, lose it or change a value."""
    data = file.read_bytes()
    kind = draw.randrange(5)
    if kind == 0:
        file.write_bytes(data[: draw.randrange(1, len(data))])
    elif kind == 1:
        file.write_bytes(b"")
    elif kind == 2:
        file.write_bytes(draw.randbytes(len(data)))
    elif kind == 3:
        file.unlink()
    else:
        file.write_text(json.dumps(_changed(json.loads(data), draw), indent=2), encoding="utf-8")


def _changed(document: Any, draw: random.Random) -> Any:
    """Change one value anywhere in a JSON document."""
    places = list(_leaves(document))
    box, key = draw.choice(places)
    value = box[key]
    if isinstance(value, bool) or value is None:
        box[key] = "other"
    elif isinstance(value, int | float):
        box[key] = value + draw.choice([-1, 1])
    else:
        box[key] = str(value) + "x"
    return document


def _leaves(box: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in box.items() if isinstance(box, dict) else enumerate(box):
        if isinstance(value, dict | list):
            yield from _leaves(value)
        else:
            yield box, key


KINDS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, random.Random], None]]] = {
    "bit flipped": (lambda file: True, flip),
    "chunk lost": (is_chunk, lose),
    "metadata damaged": (lambda file: not is_chunk(file), spoil),
}


@contextmanager
def undone(folder: Path) -> Iterator[None]:
    """Put every file of a folder back as it was."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    try:
        yield
    finally:
        for file, data in before.items():
            if not file.exists() or file.read_bytes() != data:
                file.write_bytes(data)


def is_found(store: Path) -> bool:
    """Return True if ``hmx verify`` fails."""
    try:
        verify_all({"store": str(store)}, lambda path: str(verify(path, sample=0)), Progress())
    except HmxError:
        return True
    return False


def outcome(use: Callable[[], bytes], right: bytes) -> str:
    """Use a damaged store: ``refused``, ``identical`` or, what must not be, ``silently used``."""
    try:
        return "identical" if use() == right else "silently used"
    except HmxError:
        return "refused"


def inflict(
    subject: Subject, kind: str, right: dict[str, bytes], draw: random.Random, uses: list[str]
) -> Counter[str]:
    """Damage a store once; count whether it was found, and what came of each use."""
    suits, damage = KINDS[kind]
    files = sorted(f for f in subject.store.rglob("*") if f.is_file() and suits(f))
    counts: Counter[str] = Counter()
    with undone(subject.store):
        file = draw.choice(files)
        before = file.read_bytes()
        damage(file, draw)
        if file.exists() and file.read_bytes() == before:
            return counts
        counts["damaged"] += 1
        counts["found" if is_found(subject.store) else f"missed: {file}"] += 1
        for name in uses:
            counts[outcome(subject.uses[name], right[name])] += 1
    return counts
