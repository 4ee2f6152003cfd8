"""Laws of sources and cubes at URLs: what is asked of a server, and what its failures mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner

import hmx
from hmx.catalog import Catalog
from hmx.cli.main import hmx as command
from hmx.errors import BadArgument, OutputExists, SourceError
from hmx.files.remote import explain, gdal_options
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current
from tests.make.buckets import SECRET, buckets
from tests.make.rasters import make_catalog, write_years
from tests.make.web import Web, web

YEARS = [1990, 1995, 2000]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A folder with three maps, served."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    write_years(tmp_path, YEARS)
    with web(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, buckets(patch) as files:
        yield files


def at(folder: Path, url: str, *, cube: str | None = None, **how: Any) -> Catalog:
    """Return a catalog of the maps at a URL."""
    plain = make_catalog(folder, YEARS)
    source = plain.cube.sources["hm"]
    moved = source.model_copy(update={"path": f"{url}/{Path(source.path).name}"})
    section = plain.cube.model_copy(
        update={"sources": {"hm": moved}, "path": cube or plain.cube.path, **how}
    )
    return plain.model_copy(update={"cube": section})


def values(path: str | Path) -> np.ndarray:
    return hmx.open_cube(path)["hm"].values


def test_a_server_is_asked_for_nothing_but_the_rasters(tmp_path: Path, site: Web) -> None:
    path = ingest(at(tmp_path, site.url))
    assert site.missed == []
    assert len(site.asked) <= 4 * len(YEARS)
    size = sum(file.stat().st_size for file in tmp_path.glob("*.tif"))
    assert site.sent <= 1.02 * size
    np.testing.assert_array_equal(values(path), values(ingest(make_catalog(tmp_path, YEARS))))


def test_a_busy_server_is_asked_again(tmp_path: Path, site: Web) -> None:
    site.fail(503, 429, 503)
    path = ingest(at(tmp_path, site.url))
    assert np.isfinite(values(path)).any()
    assert {503, 429} <= {one.status for one in site.asked}


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (404, r"127\.0\.0\.1:\d+ answers, and has no such file \(HTTP 404\)"),
        (403, r"refuses the file \(HTTP 403\).*AWS_ACCESS_KEY_ID"),
        (503, r"is busy or ill: it answered HTTP 503 to 5 tries"),
        (None, r"no server answers at 127\.0\.0\.1:\d+ .*then run the same command again"),
    ],
)
def test_a_failure_of_a_server_is_named_as_such(
    tmp_path: Path, site: Web, fault: int | None, text: str
) -> None:
    if fault is None:
        site.stop()
    else:
        site.fail(*[fault] * 40)
    with pytest.raises(SourceError, match=text):
        ingest(at(tmp_path, site.url))


def test_a_setting_of_the_user_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gdal_options("https://a.org/b.tif")["GDAL_HTTP_MAX_RETRY"] == "4"
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    assert "GDAL_HTTP_MAX_RETRY" not in gdal_options("https://a.org/b.tif")
    assert gdal_options("/data/b.tif") == {}
    # a grid of text has its CRS in a file beside it
    assert "GDAL_DISABLE_READDIR_ON_OPEN" not in gdal_options("https://a.org/b.asc")


def test_no_failure_shows_what_opens_the_server() -> None:
    said = explain("https://me:pw123456@a.org/b.tif?sig=abcdef", "HTTP response code: 403")
    assert said is not None
    assert "a.org refuses" in said
    assert "pw123456" not in said


def test_a_region_is_the_crop_of_the_whole(tmp_path: Path, site: Web) -> None:
    with rasterio.open(tmp_path / "HM_1990.tif") as raster:
        at_x, at_y, px = raster.transform.c, raster.transform.f, raster.transform.a
    box = (at_x + 5 * px, at_y - 20 * px, at_x + 15.5 * px, at_y - 8 * px)
    whole = values(ingest(make_catalog(tmp_path, YEARS)))
    part = at(tmp_path, site.url, cube=str(tmp_path / "part.zarr"), region=box)
    np.testing.assert_array_equal(values(ingest(part)), whole[:, 8:20, 5:16])
    assert is_current(part)
    shape = {"type": "Polygon", "coordinates": [[[box[0], box[1]], [box[2], box[1]],
             [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]],
             "crs": {"type": "name", "properties": {"name": str(raster.crs)}}}  # fmt: skip
    (tmp_path / "part.geojson").write_text(json.dumps(shape))
    named = at(
        tmp_path, site.url, cube=str(tmp_path / "named.zarr"), region=str(tmp_path / "part.geojson")
    )
    np.testing.assert_array_equal(values(ingest(named)), whole[:, 8:20, 5:16])
    # another region is another cube
    section = part.cube.model_copy(update={"region": (box[0], box[1], box[2], box[3] - px)})
    moved = part.model_copy(update={"cube": section})
    assert not is_current(moved)
    assert values(ingest(moved)).shape[1] == 11


def test_a_year_is_appended_to_a_region(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    whole = values(ingest(make_catalog(tmp_path, YEARS)))
    with rasterio.open(tmp_path / "HM_1990.tif") as raster:
        at_x, at_y, px = raster.transform.c, raster.transform.f, raster.transform.a
    box = (at_x + 5 * px, at_y - 20 * px, at_x + 15 * px, at_y - 8 * px)
    for years in (YEARS[:2], YEARS):
        plain = make_catalog(tmp_path, years)
        section = plain.cube.model_copy(
            update={"region": box, "path": str(tmp_path / "grown.zarr")}
        )
        path = ingest(plain.model_copy(update={"cube": section}))
    np.testing.assert_array_equal(values(path), whole[:, 8:20, 5:15])


def test_a_cube_on_a_web_server_is_read_and_checked(tmp_path: Path, site: Web) -> None:
    path = ingest(make_catalog(tmp_path, YEARS))
    url = f"{site.url}/{Path(path).relative_to(tmp_path)}"
    site.fail(503, 429)
    remote = hmx.open_cube(url)
    np.testing.assert_array_equal(remote["hm"].values, values(path))
    described = CliRunner().invoke(command, ["info", url])
    assert described.exit_code == 0, described.output
    assert "3 steps" in described.output
    with pytest.raises(BadArgument, match="can be read and not written"):
        ingest(at(tmp_path, site.url, cube=url), overwrite=True)
    site.stop()
    with pytest.raises(SourceError, match="no server answers at 127"):
        hmx.open_cube(url)


def test_a_netcdf_on_a_web_server_is_read(tmp_path: Path, site: Web) -> None:
    cube = hmx.open_cube(ingest(make_catalog(tmp_path, YEARS)))
    cube[["hm"]].drop_encoding().to_netcdf(tmp_path / "hm.nc")
    catalog = Catalog.model_validate(
        {
            "hmx": 1,
            "name": "web",
            "cube": {
                "path": str(tmp_path / "nc.zarr"),
                "sources": {"hm": {"path": f"{site.url}/hm.nc", "variable": "hm"}},
            },
        },
        context={"base": str(tmp_path)},
    )
    np.testing.assert_array_equal(values(ingest(catalog)), cube["hm"].values)


def test_sources_and_cube_in_a_bucket(tmp_path: Path, bucket: Any) -> None:
    write_years(tmp_path, YEARS)
    for year in YEARS:
        bucket.put(str(tmp_path / f"HM_{year}.tif"), f"bucket/maps/HM_{year}.tif")
    catalog = at(tmp_path, "s3://bucket/maps", cube="s3://bucket/made/cube.zarr")
    assert ingest(catalog) == "s3://bucket/made/cube.zarr"
    local = ingest(make_catalog(tmp_path, YEARS))
    xr.testing.assert_identical(
        hmx.open_cube("s3://bucket/made/cube.zarr").drop_attrs().load(),
        hmx.open_cube(local).drop_attrs().load(),
    )
    assert is_current(catalog)
    # nothing of a former cube stays, and what is no cube is left alone
    bucket.pipe_file("bucket/made/cube.zarr/old/c/0", b"of a former cube")
    ingest(catalog, overwrite=True)
    assert not bucket.exists("bucket/made/cube.zarr/old/c/0")
    stored = [bucket.cat_file(path) for path in bucket.find("bucket/made")]
    assert not any(SECRET.encode() in data for data in stored)
    told = CliRunner().invoke(command, ["info", "s3://bucket/made/cube.zarr"])
    assert told.exit_code == 0, told.output
    assert "hm" in told.output
    bucket.pipe_file("bucket/other/notes.txt", b"mine")
    with pytest.raises(OutputExists, match="did not write"):
        ingest(at(tmp_path, "s3://bucket/maps", cube="s3://bucket/other"))


def test_info_of_a_catalog_sees_a_cube_in_a_bucket(tmp_path: Path, bucket: Any) -> None:
    write_years(tmp_path, YEARS)
    file = tmp_path / "remote.yaml"
    file.write_text(
        "hmx: 1\nname: remote\ncube:\n  path: s3://bucket/info/cube.zarr\n  sources:\n"
        f"    hm: {{path: {tmp_path}/HM_{{year}}.tif, years: {YEARS}}}\n"
    )
    before = CliRunner().invoke(command, ["info", str(file)]).output
    assert before.count("not made yet") == 3
    assert CliRunner().invoke(command, ["ingest", str(file), "--quiet"]).exit_code == 0
    after = CliRunner().invoke(command, ["info", str(file)]).output
    assert after.count("not made yet") == 2
