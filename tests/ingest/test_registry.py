"""Laws of the registry of readers: a format is one function, and ingest treats all alike."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hmx.plugins
from hmx import load_catalog, open_cube
from hmx.catalog import Catalog
from hmx.errors import BadArgument, CatalogError, SourceError
from hmx.ingest import sources
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current
from hmx.ingest.options import Source
from hmx.ingest.readers.arrays import ArrayPart, part_of
from hmx.ingest.readers.rasters import open_rasters, reading
from hmx.ingest.sources import Part, SourceOptions, built_in, endings, open_part, reader, reader_of
from hmx.plugins import offered
from hmx.survey.api import survey
from hmx.windows import Span, Window
from tests.make.rasters import CORNER, UTM, field, make_catalog, write_tif, write_years

YEARS = [1990, 1995, 2000]


def open_toy(source: SourceOptions, files: Sequence[str], name: str) -> ArrayPart:
    """Read the toy format: a JSON header, and the numbers in a file that it names."""
    if len(files) > 1:
        raise CatalogError(f"{name} is {len(files)} files, and a .toy has no tiles.")
    with reading(name):  # names the file, whatever library fails
        header = json.loads(Path(files[0]).read_text())
        values = np.load(Path(files[0]).parent / header["values"], mmap_mode="r")
    y = CORNER.f - 100 * (np.arange(values.shape[-2]) + 0.5)
    x = CORNER.c + 100 * (np.arange(values.shape[-1]) + 0.5)
    dims = ("time", "y", "x")[-values.ndim :]
    data = xr.Dataset({"hm": (dims, values, {"_FillValue": -1.0})}, {"y": y, "x": x})
    if "years" in header:
        data = data.assign_coords(
            time=pd.to_datetime([f"{year}-01-01" for year in header["years"]])
        )
    return part_of(data.rio.write_crs(header["crs"]), source, name)


def numbers_of_toy(file: str) -> Iterator[str]:
    yield str(Path(file).parent / json.loads(Path(file).read_text())["values"])


def write_toy(path: Path, values: np.ndarray, **header: Any) -> Path:
    np.save(path.with_suffix(".npy"), values)
    path.write_text(json.dumps({"crs": UTM, "values": path.with_suffix(".npy").name, **header}))
    return path


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toy format for one test, in a process without other packages' readers."""
    monkeypatch.setattr(sources, "_registered", dict(sources._registered))
    plugins(monkeypatch, {})
    reader(".toy", members=numbers_of_toy)(open_toy)


def plugins(patch: pytest.MonkeyPatch, loads: dict[str, Callable[[], Any]]) -> list[str]:
    """Install packages that declare readers; return the endings that were loaded so far."""
    loaded: list[str] = []

    def entry(ending: str) -> Any:
        def load() -> Any:
            loaded.append(ending)
            return loads[ending]()

        dist = SimpleNamespace(name="them")
        return SimpleNamespace(name=ending, value="them:open", dist=dist, load=load)

    patch.setattr(hmx.plugins, "entry_points", lambda group: [entry(ending) for ending in loads])
    offered.cache_clear()
    return loaded


@pytest.fixture(autouse=True, scope="module")
def _forget() -> Iterator[None]:
    yield
    offered.cache_clear()


def toy_catalog(folder: Path, years: list[int], **more: Any) -> Catalog:
    return make_catalog(folder, hm={"path": "HM_{year}.toy", "years": years, **more})


def write_toy_years(folder: Path, years: list[int]) -> np.ndarray:
    maps = np.stack([field(seed=year) for year in years])
    maps[:, :2] = -1  # its fill value
    for year, values in zip(years, maps, strict=True):
        write_toy(folder / f"HM_{year}.toy", values)
    return np.where(maps == -1, np.nan, maps)


def test_a_new_format_gives_the_values_of_the_same_geotiff(tmp_path: Path) -> None:
    maps = write_toy_years(tmp_path, YEARS)
    toys = xr.open_zarr(ingest(toy_catalog(tmp_path, YEARS)))
    np.testing.assert_array_equal(toys["hm"], maps)
    for year, values in zip(YEARS, maps, strict=True):
        write_tif(tmp_path / f"tif/HM_{year}.tif", np.nan_to_num(values, nan=-1), nodata=-1)
    tifs = xr.open_zarr(ingest(make_catalog(tmp_path / "tif", YEARS)))
    xr.testing.assert_equal(toys, tifs)
    assert toys.rio.crs == tifs.rio.crs


def test_a_new_format_is_read_by_window(tmp_path: Path) -> None:
    path = write_toy(tmp_path / "a.toy", field())
    part = open_part(Source(path=str(path)), [str(path)], "a.toy")
    assert part.read(Window.of((40, 30))).dtype == "float32"
    inner = Window(Span(3, 9), Span(5, 30))
    np.testing.assert_array_equal(part.read(inner)[0], field()[inner.slices])


def test_a_step_of_a_new_format_is_appended(tmp_path: Path) -> None:
    write_toy_years(tmp_path, YEARS)
    ingest(toy_catalog(tmp_path, YEARS))
    for year in YEARS:  # an append takes these from the cube
        (tmp_path / f"HM_{year}.toy").unlink()
    added = write_toy_years(tmp_path, [2005])
    longer = xr.open_zarr(ingest(toy_catalog(tmp_path, [*YEARS, 2005])))
    assert longer.sizes["time"] == 4
    np.testing.assert_array_equal(longer["hm"][-1], added[0])


def test_a_change_of_a_new_formats_file_or_of_its_members_is_seen(tmp_path: Path) -> None:
    write_toy_years(tmp_path, YEARS)
    catalog = toy_catalog(tmp_path, YEARS)
    ingest(catalog)
    assert is_current(catalog)
    np.save(tmp_path / "HM_1995.npy", field(seed=7))
    assert not is_current(catalog)


def test_time_comes_from_the_part(tmp_path: Path) -> None:
    maps = np.stack([field(seed=year) for year in YEARS])
    write_toy(tmp_path / "HM.toy", maps, years=YEARS)
    cube = xr.open_zarr(ingest(make_catalog(tmp_path, hm={"path": "HM.toy"})))
    assert [int(str(t)[:4]) for t in cube["time"].values] == YEARS
    np.testing.assert_array_equal(cube["hm"], maps)
    write_toy(tmp_path / "HM_1990.toy", maps, years=YEARS)
    write_toy(tmp_path / "HM_1995.toy", maps, years=YEARS)
    with pytest.raises(CatalogError, match="3 times, and stands for one"):
        ingest(toy_catalog(tmp_path, [1990, 1995]))


def test_a_broken_file_of_a_new_format_is_refused_by_name(tmp_path: Path) -> None:
    write_toy_years(tmp_path, YEARS)
    (tmp_path / "HM_1995.toy").write_text("{")
    with pytest.raises(SourceError, match=r"HM_1995\.toy cannot be read"):
        ingest(toy_catalog(tmp_path, YEARS))


def test_a_format_without_bands_refuses_steps_in_bands(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match=r"\.toy files have times of their own, not bands"):
        make_catalog(tmp_path, hm={"path": "HM.toy", "years": YEARS})


def test_every_built_in_ending_has_its_reader() -> None:
    assert {".tif", ".nc", ".zarr", ""} <= {*built_in()}
    for ending, module in built_in().items():
        assert reader_of(f"a{ending}").open.__module__ == module
    assert set(endings()) == {*built_in(), ".toy"} - {""}
    assert reader_of("HM.TIF").open is open_rasters
    assert reader_of("no-ending").open is open_rasters  # GDAL finds a format by itself


def test_an_ending_means_one_reader() -> None:
    with pytest.raises(BadArgument, match=r"'\.tif'.*rasters reads this ending"):
        reader(".tif")(open_toy)
    with pytest.raises(BadArgument, match=r"an ending has a dot\. Write '\.toy'"):
        reader("toy")(open_toy)


def test_a_file_of_an_unknown_ending_is_refused_with_those_known(tmp_path: Path) -> None:
    (tmp_path / "a.what").write_text("nothing")
    with pytest.raises(SourceError, match=r"a\.what.*not one that hmx knows.*\.nc.*\.tif.*\.toy"):
        open_part(Source(path="a"), [str(tmp_path / "a.what")], str(tmp_path / "a.what"))


def test_a_package_is_loaded_when_its_ending_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = plugins(monkeypatch, {".grid": lambda: reader(".grid")(open_toy)})
    assert ".grid" in endings()
    assert not loaded
    assert reader_of("a.grid").open is open_toy
    assert loaded == [".grid"]


def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Part:
        raise ImportError("no module named 'missing'")

    plugins(monkeypatch, {".grid": broken, ".mute": lambda: open_toy})
    with pytest.raises(BadArgument, match=r"package 'them' .*cannot be loaded: ImportError"):
        reader_of("a.grid")
    with pytest.raises(BadArgument, match=r"'them'.*not registered under this name"):
        reader_of("a.mute")


def test_a_known_ending_reads_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmx.plugins, "entry_points", lambda group: pytest.fail("read"))
    offered.cache_clear()
    assert reader_of("a.tif").open is open_rasters


def test_a_catalog_knows_endings_without_importing_rasterio(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    code = (
        "import sys, hmx.catalog, hmx.ingest.sources as s; s.ending_of('a.tif'); "
        "print([m for m in ('rasterio', 'zarr.storage', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rasterio" not in done.stdout, done.stdout


def test_a_survey_finds_files_of_a_new_format(tmp_path: Path) -> None:
    """A folder of them becomes a catalog, without a word about the format."""
    folder = tmp_path / "maps"
    folder.mkdir()
    values = np.stack([field(seed=step) for step in range(3)])
    write_toy(folder / "hm.toy", values, years=YEARS)
    catalog = load_catalog(survey(folder, tmp_path / "mine.yaml").path)
    cube = open_cube(ingest(catalog))
    np.testing.assert_array_equal(cube["hm"], values)
    assert [int(year) for year in cube["time"].dt.year] == YEARS
