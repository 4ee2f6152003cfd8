"""Laws of paths: one place, however its path was typed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

import hmx
from hmx.cube.cube import as_cube
from hmx.engine.stores import store_of
from hmx.errors import BadArgument, CubeError
from hmx.exports.cog import export_cog
from hmx.files.paths import absolute, is_url
from tests.make.cubes import make_bundle, make_cube, write_catalog


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a stored cube and a link to it; the working folder is beside it."""
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    make_cube((24, 28)).chunk({"y": 12}).to_zarr(
        home / "cube.zarr", zarr_format=3, consolidated=False
    )
    (home / "link.zarr").symlink_to(home / "cube.zarr")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return home


SPELLINGS: dict[str, Callable[[Path], str | Path]] = {
    "from the root": lambda home: str(home / "cube.zarr"),
    "a Path": lambda home: home / "cube.zarr",
    "relative": lambda _: "../home/cube.zarr",
    "with ~": lambda _: "~/cube.zarr",
    "a slash at its end": lambda home: f"{home}/cube.zarr/",
    "file://": lambda home: f"file://{home}/cube.zarr",
    "through a link": lambda home: home / "link.zarr",
}


@pytest.mark.parametrize("typed", SPELLINGS.values(), ids=SPELLINGS)
def test_a_cube_is_its_store_however_its_path_was_typed(
    home: Path, typed: Callable[[Path], str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = hmx.open_cube(typed(home))
    monkeypatch.chdir("/")
    found = store_of(ds, as_cube(ds))
    assert found is not None
    assert os.path.realpath(found) == str(home / "cube.zarr")


def test_what_was_edited_cropped_or_written_anew_is_no_store(home: Path) -> None:
    ds = hmx.open_cube("~/cube.zarr")
    cropped, edited = ds.isel(y=slice(4, 20)), ds.assign(hm=ds["hm"] + 0)
    assert store_of(cropped, as_cube(cropped)) is None
    assert store_of(edited, as_cube(edited)) is None
    make_cube((24, 28), seed=1).to_zarr(
        home / "cube.zarr", mode="w", zarr_format=3, consolidated=False
    )
    assert store_of(ds, as_cube(ds)) is None


def test_a_forecast_is_stored_from_a_cube_that_was_opened_by_a_relative_path(home: Path) -> None:
    ds = hmx.open_cube("../home/cube.zarr")
    model = make_bundle(make_cube((24, 28)))
    stored = ds.hm.forecast_to_zarr("~/fc.zarr", h=1, model=model)
    assert (home / "fc.zarr" / "zarr.json").is_file()
    assert os.listdir() == []
    xr.testing.assert_allclose(stored["hm"], ds.hm.forecast(h=1, model=model)["hm"], atol=1e-6)
    assert ds.hm.plan(h=1, model=model).bytes_read > 0
    with pytest.raises(CubeError, match="not a store as it was opened"):
        ds.isel(y=slice(4, 20)).hm.forecast_to_zarr("~/crop.zarr", h=1, model=model)


def test_a_tilde_is_the_home_wherever_a_path_is_taken(home: Path) -> None:
    ds = hmx.open_cube("~/cube.zarr")
    make_bundle(ds).save("~/saved")
    assert hmx.load("~/saved").path == home / "saved"
    assert hmx.load("file://" + str(home / "saved")).path == home / "saved"
    files = export_cog(ds[["hm"]].isel(time=[-1]), "~/maps")
    assert [file.parent for file in files] == [home / "maps"]
    catalog = write_catalog(home / "toy", make_cube((24, 28)))
    loaded = hmx.Catalog.load(f"~/toy/{catalog.name}", ["model.path=~/toy.model"])
    assert loaded.cube.path == str(home / "toy" / "toy.zarr")
    assert loaded.model_path == str(home / "toy.model")
    assert os.listdir() == []


def test_two_dots_after_a_link_leave_the_folder_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "big" / "maps").mkdir(parents=True)
    (tmp_path / "here").symlink_to(tmp_path / "big" / "maps")
    assert absolute(tmp_path / "here" / ".." / "a.tif") == str(tmp_path / "big" / "a.tif")
    assert absolute("here/../a.tif", tmp_path) == str(tmp_path / "big" / "a.tif")
    assert absolute("big/../a.tif", tmp_path) == str(tmp_path / "a.tif")


@pytest.mark.parametrize("url", ["s3://b/a.zarr", "https://x.org/a", "/vsizip/a.zip", "wandb:a/b"])
def test_urls_stay_as_they_are(url: str) -> None:
    assert is_url(url)
    assert absolute(url, "/data") == url


def test_a_working_folder_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert absolute("/data/a.zarr") == "/data/a.zarr"
    with pytest.raises(BadArgument, match="starts at the working folder, and that was removed"):
        absolute("a.zarr")
