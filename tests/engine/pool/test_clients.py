"""Laws of clients and buckets: work goes to the Dask client that is open, and products anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from distributed import Client, LocalCluster

import hmx
from hmx.engine.options import DaskSection
from hmx.engine.pool import cluster
from hmx.engine.pool.cluster import connect
from hmx.errors import BadArgument, CatalogError
from hmx.progress import Progress
from hmx.settings import parse
from tests.conftest import ROOT
from tests.make.buckets import SECRET, buckets

WHAT: Any = {"h": 1, "level": [80], "tile": 48}


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of workers in this process, as a notebook opens one, with its dashboard."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as here,
        Client(here) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def stored(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    cube.drop_encoding().to_zarr(path, zarr_format=3, consolidated=False)
    return path


def notes() -> tuple[list[str], Progress]:
    """Return a list, and what writes the notes of a run into it."""
    lines: list[str] = []
    return lines, Progress(on_note=lines.append)


def test_an_open_client_does_the_work_and_stays_open(client: Client) -> None:
    with connect(DaskSection(), tasks=3) as pool:
        assert pool.client is client
        assert pool.where.startswith("your Dask client at inproc://")
        assert pool.dashboard in pool.described
        assert pool.dashboard.startswith("http://")
    assert client.submit(int, "7").result() == 7


def test_workers_that_are_asked_for_come_before_an_open_client(client: Client) -> None:
    with connect(DaskSection(workers=1), tasks=1, device="cpu") as pool:
        assert pool.client is not client
        assert pool.described == "1 worker here"  # no dashboard, no address
    with connect(parse(DaskSection, {"workers": 1, "dashboard": True}), tasks=1) as pool:
        assert "(dashboard: http://127.0.0.1:" in pool.described


def test_a_forecast_by_a_client_is_that_of_this_process(
    stored: Path, trained: hmx.Bundle, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lines, progress = notes()
    ds = hmx.open_cube(stored)
    how: Any = {"model": trained, "progress": progress, **WHAT}
    alone = ds.hm.forecast_to_zarr(tmp_path / "alone.zarr", **how).load()
    assert any("by this process" in line for line in lines)
    lines.clear()
    client = request.getfixturevalue("client")
    given = ds.hm.forecast_to_zarr(tmp_path / "given.zarr", scheduler=client, **how)
    assert any("by your Dask client" in line and "dashboard: http" in line for line in lines)
    xr.testing.assert_equal(given, alone)
    with pytest.raises(BadArgument, match="workers=2 and scheduler=Client name two places"):
        ds.hm.forecast_to_zarr(tmp_path / "x.zarr", scheduler=client, workers=2, **how)


def test_a_dashboard_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    wanted = parse(DaskSection, {"workers": 1, "dashboard": True})
    with (
        pytest.raises(BadArgument, match=r'pip install "hmx\[dashboard\]"'),
        connect(wanted, tasks=1),
    ):
        pass
    with pytest.raises(BadArgument, match="dashboard belongs to workers of this machine"):
        parse(DaskSection, {"scheduler": "tcp://a:1", "dashboard": True})


def test_cube_and_forecast_in_a_bucket_are_those_on_disk(
    stored: Path, trained: hmx.Bundle, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, buckets(patch) as files:
        files.put(str(stored), "bucket/cube.zarr", recursive=True)
        ds = hmx.open_cube("s3://bucket/cube.zarr")
        remote = ds.hm.forecast_to_zarr("s3://bucket/fc.zarr", model=trained, **WHAT)
        local = hmx.open_cube(stored).hm.forecast_to_zarr(
            tmp_path / "fc.zarr", model=trained, **WHAT
        )
        xr.testing.assert_equal(remote.load(), local)
        written = [path for path in files.find("bucket") if "fc.zarr" in path]
        assert any(".ledger" in path for path in written)
        assert not any(SECRET.encode() in files.cat_file(path) for path in written)
        # run again: the ledger in the bucket proves every tile
        lines, progress = notes()
        ds.hm.forecast_to_zarr("s3://bucket/fc.zarr", model=trained, progress=progress, **WHAT)
        assert not any("tiles of" in line for line in lines), lines
        files.mkdir("my-bucket")
        files.put(str(stored), "my-bucket/amapa/cube.zarr", recursive=True)
        (tmp_path / "build").mkdir()
        (tmp_path / "build" / "amapa.model").symlink_to(trained.path)
        patch.chdir(tmp_path)
        page = (ROOT / "hmx" / "guide" / "clouds.md").read_text()
        code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
        code = code.replace(", workers=2)", ", h=1)").replace(
            'Client("tcp://host:8786")', "Client(processes=False, dashboard_address=None)"
        )
        try:
            exec(compile(code, "clouds.md", "exec"), names := {"hmx": hmx})
        finally:
            names["client"].cluster.close()
            names["client"].close()
        assert files.exists("my-bucket/amapa/forecast.zarr/zarr.json")


def test_the_catalog_of_the_guide_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "hmx" / "guide" / "clouds.md").read_text()
    text = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[0]
    (tmp_path / "c.yaml").write_text(f"hmx: 1\nname: clouds\n{text}")
    section = hmx.Catalog.load(tmp_path / "c.yaml").cube
    assert section.region == (-52.5, 0.5, -51.0, 2.0)
    (tmp_path / "d.yaml").write_text(
        f"hmx: 1\nname: clouds\n{text}".replace("[-52.5, 0.5, -51.0, 2.0]", "[-51, 0.5, -52, 2]")
    )
    with pytest.raises(CatalogError, match=r"cube\.region.*is empty.*Try \[-52, 0.5, -51, 2\]"):
        hmx.Catalog.load(tmp_path / "d.yaml")
