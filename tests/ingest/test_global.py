"""Laws of the catalog of the global series: it runs on a copy with its names, size and quirks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window, from_bounds

import hmx
from hmx.catalog import Catalog
from hmx.errors import SourceError
from hmx.ingest.ingest import ingest
from tests.conftest import ROOT
from tests.make.web import Web, web

YEARS = range(1990, 2021, 5)
DEGREES = 300 / 111_319.490_793_273_58  # of longitude, 300 m on the equator
SHAPE = (53_000, 133_584)  # all longitudes, 84 N to 59 S; 360 degrees are no whole pixels
CATALOG = ROOT / "catalogs" / "hm_global.yaml"
NAME = "HMv20240801_{year}c_{code}.tif"
FILL = np.float32(-3.4028235e38)  # not declared


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Files of the size of the globe, with data under one window and around it."""
    folder = tmp_path_factory.mktemp("archive")
    for code in ("AA", "BU"):
        for year in YEARS:
            write(folder / NAME.format(year=year, code=code), year + len(code))
    with web(folder) as site:
        yield site


def write(path: Path, seed: int) -> None:
    at = rasterio.transform.from_origin(-180, 84, DEGREES, DEGREES)
    how = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=1, crs="EPSG:4326", transform=at,
        height=SHAPE[0], width=SHAPE[1], sparse_ok=True, bigtiff="yes", zlevel=1, **how,
    ) as file:  # fmt: skip
        _, rows, columns = around(file, region())
        square = (rows[1] - rows[0], columns[1] - columns[0])
        values = np.random.default_rng(seed).random(square, dtype="float32").round(3)
        values[::7] = FILL  # the sea
        file.write(values, 1, window=Window(columns[0], rows[0], square[1], square[0]))


def around(
    file: rasterio.DatasetReader, box: tuple[float, ...]
) -> tuple[Window, list[int], list[int]]:
    """Return the window of a box, and rows and columns of the blocks that it touches."""
    window = from_bounds(*box, transform=file.transform)
    ends = [window.row_off, window.row_off + window.height]
    sides = [window.col_off, window.col_off + window.width]
    rows, columns = ([int(a // 512) * 512, -int(-b // 512) * 512] for a, b in (ends, sides))
    return window, rows, columns


def region() -> tuple[float, ...]:
    found = Catalog.load(CATALOG).cube.region
    assert isinstance(found, tuple)
    return found


def catalog(site: Web, folder: Path, *more: str) -> Catalog:
    path = f"cube.sources.hm.path={site.url}/{NAME.format(year='{year}', code='AA')}"
    return Catalog.load(CATALOG, [f"cube.path={folder / 'cube.zarr'}", path, *more])


def test_no_more_is_fetched_than_the_blocks_of_the_region(archive: Web, tmp_path: Path) -> None:
    share = 0
    for file in archive_files(archive):
        with rasterio.open(file) as raster:
            _, rows, columns = around(raster, region())
            for row in range(rows[0] // 512, rows[1] // 512):
                for column in range(columns[0] // 512, columns[1] // 512):
                    item = f"BLOCK_SIZE_{column}_{row}"
                    share += int(raster.get_tag_item(item, "TIFF", bidx=1))
    archive.forget()
    path = ingest(catalog(archive, tmp_path))
    assert archive.missed == []
    assert share <= archive.sent <= 1.5 * share
    assert len(archive.asked) < 12 * len(YEARS)
    cube = hmx.open_cube(path)
    with rasterio.open(archive_files(archive)[0]) as raster:
        window, _, _ = around(raster, region())
        top, left = int(window.row_off), int(window.col_off)
        size = tuple(cube["hm"].shape[1:])
        first = raster.read(1, window=Window(left, top, size[1], size[0]))
    first[first < 0] = np.nan
    np.testing.assert_array_equal(cube["hm"].values[0], first)
    assert np.isnan(first).any()
    west, south, east, north = cube.rio.bounds()
    assert west <= region()[0]
    assert east >= region()[2]
    assert east - west < region()[2] - region()[0] + 2 * DEGREES
    assert south <= region()[1] < region()[3] <= north


def archive_files(site: Web) -> list[Path]:
    folder = Path(site.process.args[-1])  # type: ignore[index]
    return sorted(folder.glob("*AA.tif"))


def test_a_threat_is_a_further_source(archive: Web, tmp_path: Path) -> None:
    text = CATALOG.read_text()
    # take the comment marks off the threat, as a user does
    text = re.sub(r"^    # ( *(?:built_up|path|years|valid_range|nodata).*)$", r"    \1", text,
                  flags=re.MULTILINE)  # fmt: skip
    text = text.replace("https://zenodo.org/records/15191928/files", archive.url)
    (tmp_path / "mine.yaml").write_text(text)
    small = "cube.region=[-52.5, 0.5, -52.4, 0.6]"
    cube = hmx.open_cube(
        ingest(Catalog.load(tmp_path / "mine.yaml", [small, f"cube.path={tmp_path / 'c.zarr'}"]))
    )
    assert set(cube.data_vars) == {"hm", "built_up"}
    assert cube["built_up"].sizes["time"] == len(YEARS)


def test_a_name_that_is_wrong_stops_at_once(archive: Web, tmp_path: Path) -> None:
    wrong = f"cube.sources.hm.path={archive.url}/HM_{{year}}_300.tif"
    with pytest.raises(SourceError, match=r"has no such file \(HTTP 404\)"):
        ingest(catalog(archive, tmp_path, wrong))
