"""Laws of stamps: what changed behind a cube is seen, and what was only moved is not."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
import zarr

import hmx
from hmx.catalog import Catalog
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current, note_of
from hmx.progress import Progress
from hmx.provenance import fingerprint
from hmx.workflow import ensure_cube
from tests.make.rasters import CORNER, UTM, field, make_catalog, write_tif, write_years

YEARS = [1990, 1995, 2000]


def rewrite(path: Path, change: Any) -> None:
    """Change a file's bytes, and give it its old size and times back."""
    before, data = path.stat(), bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def flip_last(data: bytearray) -> None:
    data[-1] ^= 1


@pytest.fixture
def made(tmp_path: Path) -> Catalog:
    write_years(tmp_path, YEARS)
    catalog = make_catalog(tmp_path, YEARS)
    ingest(catalog)
    assert is_current(catalog)
    return catalog


def test_a_file_rewritten_with_its_old_size_and_time_is_seen(made: Catalog, tmp_path: Path) -> None:
    rewrite(tmp_path / "HM_1995.tif", flip_last)
    assert not is_current(made)


@pytest.mark.parametrize("end", [".aux.xml", ".msk", ".ovr"])
def test_a_sidecar_that_comes_or_changes_is_seen(made: Catalog, tmp_path: Path, end: str) -> None:
    side = tmp_path / f"HM_1995.tif{end}"
    side.write_bytes(b"<PAMDataset></PAMDataset>")
    assert not is_current(made)
    if end == ".aux.xml":
        ingest(made)
        assert is_current(made)
        rewrite(side, lambda data: data.__setitem__(1, ord("Q")))
        assert not is_current(made)


def test_a_world_file_is_part_of_its_raster(made: Catalog, tmp_path: Path) -> None:
    (tmp_path / "HM_1995.tfw").write_text("100\n0\n0\n-100\n500050\n5399950\n")
    assert not is_current(made)


def vrt_of(path: Path, file: str) -> None:
    path.write_text(
        f'<VRTDataset rasterXSize="30" rasterYSize="40"><SRS>{UTM}</SRS><GeoTransform>'
        f"{', '.join(map(str, CORNER.to_gdal()))}</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.mark.parametrize("deep", [False, True])
def test_a_change_behind_a_vrt_is_seen(tmp_path: Path, deep: bool) -> None:
    for year in YEARS:
        write_tif(tmp_path / "data & more" / f"{year}.tif", field(seed=year))
        vrt_of(tmp_path / f"inner_{year}.vrt", f"data &amp; more/{year}.tif")
        vrt_of(tmp_path / f"outer_{year}.vrt", f"inner_{year}.vrt")
    path = f"{'outer' if deep else 'inner'}_{{year}}.vrt"
    catalog = make_catalog(tmp_path, hm={"path": path, "years": YEARS})
    ingest(catalog)
    assert is_current(catalog)
    write_tif(tmp_path / "data & more" / "1995.tif", field(seed=7))
    assert not is_current(catalog)
    np.testing.assert_array_equal(xr.open_zarr(ingest(catalog))["hm"][1], field(seed=7))


def test_a_chunk_rewritten_within_a_zarr_source_is_seen(made: Catalog, tmp_path: Path) -> None:
    at = {"y": CORNER.f - 100 * (np.arange(40) + 0.5), "x": CORNER.c + 100 * (np.arange(30) + 0.5)}
    plane = xr.Dataset({"slope": (("y", "x"), field())}, at).rio.write_crs(UTM)
    plane.to_zarr(tmp_path / "slope.zarr", zarr_format=3, consolidated=False)
    catalog = make_catalog(tmp_path, YEARS, slope={"path": "slope.zarr"})
    ingest(catalog)
    assert is_current(catalog)
    array = zarr.open_group(tmp_path / "slope.zarr", mode="r+")["slope"]
    array[:10] = 0  # type: ignore[index]
    assert not is_current(catalog)


@pytest.mark.parametrize("how", ["copied with times", "copied", "touched", "its mode changed"])
def test_an_archive_that_was_moved_or_touched_is_as_it_was(
    made: Catalog, tmp_path: Path, how: str
) -> None:
    for year in YEARS:
        file = tmp_path / f"HM_{year}.tif"
        if how == "touched":
            os.utime(file)
        elif how == "its mode changed":
            file.chmod(0o600)
        else:
            copy = shutil.copy2 if how == "copied with times" else shutil.copyfile
            copy(file, tmp_path / "other")
            file.unlink()
            (tmp_path / "other").rename(file)
    assert is_current(made)


def test_rasters_that_are_gone_are_as_they_were(made: Catalog, tmp_path: Path) -> None:
    for file in tmp_path.glob("HM_*.tif"):
        file.unlink()
    assert is_current(made)


def as_format_1(catalog: Catalog) -> None:
    """Write a cube's recipe as an older hmx did."""
    path = Path(catalog.cube.path)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    recipe = json.loads(str(group.attrs["hmx_sources"]))
    recipe["format"] = 1
    for facts in recipe["sources"].values():
        facts["options"] |= {"scale": 1.0, "offset": 0.0}
        facts["files"] = {k: [s[:3] for s in stamps] for k, stamps in facts["files"].items()}
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"] |= {
        "hmx_sources": json.dumps(recipe),
        "hmx_fingerprint": fingerprint(recipe),
    }
    root.pop("consolidated_metadata", None)
    (path / "zarr.json").write_text(json.dumps(root))
    shutil.rmtree(path / "hmx_seal")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(path)


def lines_of(catalog: Catalog) -> list[str]:
    lines: list[str] = []
    ensure_cube(catalog, Progress(on_note=lines.append))
    return lines


def test_a_cube_of_an_older_hmx_is_built_anew_from_its_rasters_with_a_line(made: Catalog) -> None:
    as_format_1(made)
    assert not is_current(made)
    assert any("older hmx" in line and "built anew" in line for line in lines_of(made))
    assert is_current(made)
    assert note_of(made) is None


def test_a_cube_of_an_older_hmx_whose_rasters_are_gone_is_kept_with_a_line(
    made: Catalog, tmp_path: Path
) -> None:
    as_format_1(made)
    (tmp_path / "HM_1990.tif").unlink()
    assert is_current(made)
    (line,) = lines_of(made)
    assert "rasters of it are gone (hm 1990): kept as it is" in line


def test_a_year_is_added_to_a_cube_of_an_older_hmx_whose_rasters_are_gone(
    made: Catalog, tmp_path: Path
) -> None:
    as_format_1(made)
    want = hmx.open_cube(made.cube.path)["hm"].load()
    for file in tmp_path.glob("HM_*.tif"):
        file.unlink()
    write_tif(tmp_path / "HM_2005.tif", field(seed=5))
    more = make_catalog(tmp_path, [*YEARS, 2005])
    found = xr.open_zarr(ingest(more))["hm"]
    np.testing.assert_array_equal(found[:3], want)
    np.testing.assert_array_equal(found[3], field(seed=5))
    assert is_current(more)
