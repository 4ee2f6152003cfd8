"""URLs work where paths do; every server is on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import OutputExists, SourceError
from hmx.workflow import ensure_cube, ensure_result
from tests.make.cubes import write_catalog


class Ranges(SimpleHTTPRequestHandler):
    """A file server that answers range requests, as object stores do."""

    ranges = 0

    def do_GET(self) -> None:
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range")
        if not wanted or not path.is_file():
            super().do_GET()
            return
        Ranges.ranges += 1
        data = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(data) - 1), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop}/{len(data)}")
        self.send_header("Content-Length", str(stop - start + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data[start : stop + 1])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("remote")).parent


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")


def test_rasters_at_urls_make_the_same_cube(folder: Path, url: str, tmp_path: Path) -> None:
    local = hmx.Catalog.load(folder / "toy.yaml", [f"cube.path={tmp_path / 'local.zarr'}"])
    remote = hmx.Catalog.load(
        folder / "toy.yaml",
        [
            f"cube.path={tmp_path / 'remote.zarr'}",
            f"cube.sources.hm.path={url}/HM_{{year}}.tif",
            f"cube.sources.elevation.path={url}/elevation.tif",
        ],
    )
    before = Ranges.ranges
    one, other = (hmx.open_cube(ensure_cube(catalog)) for catalog in (local, remote))
    xr.testing.assert_equal(one.load(), other.load())
    assert Ranges.ranges > before, "whole files were read"


def test_a_missing_url_is_named(folder: Path, url: str, tmp_path: Path) -> None:
    catalog = hmx.Catalog.load(
        folder / "toy.yaml",
        [f"cube.path={tmp_path / 'c.zarr'}", f"cube.sources.elevation.path={url}/nowhere.tif"],
    )
    with pytest.raises(SourceError, match=r"nowhere\.tif"):
        ensure_cube(catalog)


def test_a_cube_on_a_web_server_can_be_opened(folder: Path, url: str) -> None:
    local = hmx.open_cube(ensure_cube(hmx.Catalog.load(folder / "toy.yaml")))
    remote = hmx.open_cube(f"{url}/toy.zarr")
    assert remote.rio.crs == local.rio.crs
    xr.testing.assert_equal(remote.load(), local.load())


def test_a_forecast_can_be_written_to_an_object_store(folder: Path) -> None:
    def catalog(h: int) -> hmx.Catalog:
        sets = ["forecast.output=memory://bucket/fc.zarr", f"forecast.h={h}"]
        return hmx.Catalog.load(folder / "toy.yaml", sets)

    path = ensure_result(catalog(2))
    stored = hmx.open_cube(path)
    assert stored.attrs["hmx_status"] == "complete"
    assert np.isfinite(stored["hm"]).any()
    with pytest.raises(OutputExists, match="its h is 2"):
        ensure_result(catalog(1))
    assert hmx.open_cube(ensure_result(catalog(1), overwrite=True)).sizes["time"] == 1
    with fsspec.open("memory://bucket/other/thesis.txt", "w") as file:
        file.write("mine")
    foreign = hmx.Catalog.load(folder / "toy.yaml", ["forecast.output=memory://bucket/other"])
    with pytest.raises(OutputExists, match="did not write"):
        ensure_result(foreign, overwrite=True)
