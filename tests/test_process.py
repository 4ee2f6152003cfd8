"""Laws of the process: results do not hang on how a session has set its libraries."""

from __future__ import annotations

import locale
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import hmx
from hmx.exports.cog import export_cog
from hmx.forecast.window import engine
from hmx.ingest.ingest import ingest
from hmx.mapping.api import soc_map
from hmx.mapping.window import map_engine
from tests.make.cubes import make_bundle, make_cube
from tests.make.mapworlds import make_covariates, make_mapper
from tests.make.rasters import make_catalog, write_years
from tests.make.soilworlds import TINY, UTM, make_points

TRAINING: dict[str, Any] = {
    "width": 3, "trunk": (1,), "context": (1,), "history": 2, "h": 1, "epochs": 1, "steps": 2,
    "chip": 24, "static": ["elevation"],
}  # fmt: skip


@contextmanager
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def raising_numpy() -> Iterator[None]:
    with np.errstate(all="raise"):
        yield


@contextmanager
def foreign_locale() -> Iterator[None]:
    before = locale.setlocale(locale.LC_ALL)
    found = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C") if _has(name)]
    locale.setlocale(locale.LC_ALL, found[0])
    yield
    locale.setlocale(locale.LC_ALL, before)


def _has(name: str) -> bool:
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    return True


SESSIONS: dict[str, Callable[[], Any]] = {
    "float64 by default": double_precision,
    "another device by default": default_device,
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "numpy that raises": raising_numpy,
    "attributes dropped": lambda: xr.set_options(keep_attrs=False),
    "attributes kept": lambda: xr.set_options(keep_attrs=True),
    "coordinates joined exactly": lambda: xr.set_options(arithmetic_join="exact"),
    "coordinates joined by union": lambda: xr.set_options(arithmetic_join="outer"),
    "small chunks": lambda: dask.config.set({"array.chunk-size": "1kiB"}),
    "one thread": lambda: dask.config.set(scheduler="synchronous"),
    "commas in numbers": foreign_locale,
    "short tables": lambda: pd.option_context("display.max_rows", 1, "display.precision", 1),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One of each job, on disk, from where each session loads them anew."""
    folder, land = tmp_path_factory.mktemp("models"), make_covariates()
    make_bundle(make_cube((32, 36)), calibrated=True).save(folder / "hm")
    make_mapper(land, calibrated=True).save(folder / "soc")
    return {"hm": folder / "hm", "soc": folder / "soc"}


@pytest.fixture(scope="module")
def plain(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes out where nothing is set."""
    return products(models, tmp_path_factory.mktemp("plain"))


def products(models: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One of everything, small."""
    write_years(folder, [1990, 1995, 2000])
    cube = hmx.open_cube(ingest(make_catalog(folder)))
    ds = make_cube((32, 36))
    land = make_covariates()
    fc = ds.hm.forecast(h=2, model=models["hm"], level=80).load()
    return {
        "cube": cube.load(),
        "forecast": fc,
        "series": fc.hm.with_history(ds),
        "map": soc_map(land, model=models["soc"], level=80).load(),
        "files": [file.name for file in export_cog(fc, folder / "cog")],
    }


@pytest.mark.parametrize("session", SESSIONS)
def test_products_do_not_hang_on_the_session(
    plain: dict[str, Any], models: dict[str, Any], tmp_path: Path, session: str
) -> None:
    engine.cache_clear(), map_engine.cache_clear()
    with SESSIONS[session]():
        found = products(models, tmp_path)
    for name, want in plain.items():
        if name == "files":
            assert found[name] == want
            continue
        for attrs in (found[name].attrs, want.attrs):
            attrs.pop("hmx_provenance", None), attrs.pop("hmx_fingerprint", None)
            attrs.pop("hmx_sources", None)
        xr.testing.assert_identical(found[name], want)


@pytest.fixture(scope="module")
def learnt() -> hmx.Bundle:
    return make_cube((40, 48)).hm.train(**TRAINING)


@pytest.mark.parametrize("session", list(SESSIONS)[:6])
def test_training_does_not_hang_on_the_session(learnt: hmx.Bundle, session: str) -> None:
    with SESSIONS[session]():
        found = make_cube((40, 48)).hm.train(**TRAINING)
    for name, weights in learnt.weights.items():
        np.testing.assert_array_equal(found.weights[name], weights)


@pytest.mark.parametrize("session", ["float64 by default", "inference mode"])
def test_training_a_mapper_does_not_hang_on_the_session(session: str) -> None:
    land = make_covariates()
    with SESSIONS[session]():
        found = land.soc.train(make_points(land), crs=UTM, units="g/kg", **TINY)
    assert {array.dtype for array in found.weights.values()} == {np.dtype("float32")}


def test_training_leaves_the_session_as_it_was() -> None:
    torch.manual_seed(3), np.random.seed(3), random.seed(3)  # noqa: NPY002
    want = (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    torch.manual_seed(3), np.random.seed(3), random.seed(3)  # noqa: NPY002
    before = dict(os.environ)
    make_cube((40, 48)).hm.train(**TRAINING)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == want  # noqa: NPY002
    assert dict(os.environ) == before
    assert torch.is_grad_enabled()
