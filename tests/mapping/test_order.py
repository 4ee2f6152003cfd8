"""Laws of the map job: the common runner, with what a map reads and is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import hmx
from hmx.engine.job import Job, run
from hmx.engine.ledger import adopt
from hmx.engine.options import DaskSection
from hmx.engine.plan import plan
from hmx.engine.verify import verify
from hmx.errors import BadArgument, CubeError, OutputExists, VerifyFailed
from hmx.forecast.bundle import Bundle
from hmx.mapping.api import map_to_zarr, plan_map, soc_map
from hmx.mapping.bundle import MapBundle
from hmx.mapping.options import MapOptions
from hmx.mapping.order import MapRun
from tests.engine.test_job import Told
from tests.make.faults import tree
from tests.make.mapworlds import make_covariates, make_mapper

OPTIONS: dict[str, Any] = {"level": [80], "tile": 16}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Covariates on disk, in chunks that are not the tiles'."""
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    chunked = make_covariates((48, 61)).chunk({"time": -1, "y": 20, "x": 20})
    chunked.to_zarr(path, zarr_format=3, consolidated=False)
    return path


@pytest.fixture(scope="module")
def mapper(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> MapBundle:
    made = make_mapper(
        hmx.open_cube(stored), members=2, forest=True, calibrated=True, near=True, coarse=(2,)
    )
    return made.save(tmp_path_factory.mktemp("models") / "mapper")


def make_job(cube: Path, model: Any, store: Path, region: Any = None, **options: Any) -> Job:
    chosen = MapOptions(**{**OPTIONS, **options})
    checked = MapRun.check(hmx.open_cube(cube, chunks=None), model, chosen, region=region)
    return Job(checked, str(cube), str(store))


@pytest.fixture(scope="module")
def whole(
    stored: Path, mapper: MapBundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, dict[str, bytes]]:
    """An uninterrupted job, and every byte it wrote."""
    job = make_job(stored, mapper, tmp_path_factory.mktemp("whole") / "soc.zarr")
    run(job)
    return job, tree(job.store)


@pytest.fixture
def copy(whole: tuple[Job, Any], tmp_path: Path, stored: Path, mapper: MapBundle) -> Job:
    """A copy of the finished job that a test may spoil."""
    for end in ("", ".ledger"):
        shutil.copytree(whole[0].store + end, str(tmp_path / "soc.zarr") + end)
    return make_job(stored, mapper, tmp_path / "soc.zarr")


def test_the_stored_map_is_the_lazy_one(
    stored: Path, mapper: MapBundle, whole: tuple[Job, Any], tmp_path: Path
) -> None:
    ds = hmx.open_cube(stored)
    lazy = soc_map(ds, model=mapper, **OPTIONS)
    xr.testing.assert_equal(hmx.open_cube(whole[0].store).load(), lazy.load())
    plain = xr.open_zarr(whole[0].store)
    assert plain.rio.crs == ds.rio.crs
    assert plain["soc"].encoding["chunks"] == (16, 16)
    assert plain["quality"].dtype == "uint8"
    assert plain.attrs["hmx_status"] == "complete"
    made = map_to_zarr(ds, tmp_path / "again.zarr", model=mapper, **OPTIONS)
    xr.testing.assert_equal(made.load(), lazy)


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_stopped_map_goes_on_to_the_very_same_bytes(
    stored: Path, mapper: MapBundle, whole: tuple[Job, Any], tmp_path: Path, after: int
) -> None:
    job = make_job(stored, mapper, tmp_path / "soc.zarr")
    with pytest.raises(KeyboardInterrupt):
        run(job, progress=Told(stop_after=after).progress)
    proven, told = len(list(job.ledger.records())), Told()
    run(job, progress=told.progress)
    assert after <= proven < 12
    assert told.done == 12 - proven, "what was proven was computed again"
    assert tree(job.store) == whole[1]
    assert any(line.startswith("map: soc from 4 bands, ") for line in told.lines)


def test_a_torn_chunk_is_repaired_and_a_finished_map_is_left_alone(
    copy: Job, whole: tuple[Job, Any]
) -> None:
    torn, told = Path(copy.store) / "soc_lo_80/c/1/2", Told()
    torn.write_bytes(torn.read_bytes()[:10])
    run(copy, progress=told.progress)
    assert told.done == 1
    assert tree(copy.store) == whole[1]
    told = Told()
    run(copy, progress=told.progress)
    assert told.lines == [f"map: {copy.store} exists and is current"]


def test_a_region_of_a_job_is_the_crop_of_the_whole(
    stored: Path, mapper: MapBundle, whole: tuple[Job, Any], tmp_path: Path
) -> None:
    region = (slice(5, 40), slice(9, 50))
    part = hmx.open_cube(run(make_job(stored, mapper, tmp_path / "part.zarr", region=region)))
    crop = hmx.open_cube(whole[0].store).isel(y=region[0], x=region[1])
    for name in crop.data_vars:
        np.testing.assert_allclose(part[name], crop[name], rtol=0, atol=2e-3)


def test_another_map_in_the_same_place_is_refused(copy: Job, stored: Path, tmp_path: Path) -> None:
    mapper = copy.run.bundle
    with pytest.raises(OutputExists, match=r"holds another map: its level is \[80.0\]"):
        run(make_job(stored, mapper, Path(copy.store), level=[90]))
    other = make_mapper(hmx.open_cube(stored), calibrated=True).save(tmp_path / "other")
    with pytest.raises(OutputExists, match="its bundle is"):
        run(make_job(stored, other, Path(copy.store)))


def test_a_map_of_another_date_is_another_map(tmp_path: Path) -> None:
    make_covariates(years=5).to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(tmp_path / "c.zarr")
    mapper = make_mapper(ds, history=3).save(tmp_path / "m")
    made = map_to_zarr(ds, tmp_path / "soc.zarr", model=mapper, year=2013)
    assert str(made["time"].values)[:10] == "2013-01-01"
    xr.testing.assert_allclose(made.load(), soc_map(ds, model=mapper, year=2013).load())
    with pytest.raises(OutputExists, match="its date is '2013-01-01' and this one's is '2014"):
        map_to_zarr(ds, tmp_path / "soc.zarr", model=mapper, year=2014)
    assert verify(str(tmp_path / "soc.zarr"), sample=1).windows == 1


def test_tiles_without_stored_data_are_skipped_and_read_as_the_lazy_ones(
    mapper: MapBundle, tmp_path: Path
) -> None:
    sea = make_covariates((48, 61))
    for name in sea.data_vars:
        sea[name][..., :32, :40] = np.nan
    encoding = {n: {"write_empty_chunks": False, "fill_value": np.nan} for n in sea.data_vars}
    sea.chunk({"time": -1, "y": 8, "x": 8}).to_zarr(
        tmp_path / "c.zarr", zarr_format=3, consolidated=False, encoding=encoding
    )
    told, job = Told(), make_job(tmp_path / "c.zarr", mapper, tmp_path / "soc.zarr", tile=8)
    run(job, progress=told.progress)
    skipped = 3 * 4  # what a window of the neighbours reaches is looked at
    assert told.done == 6 * 8 - skipped
    assert plan(job.run, job.inventory, timed=False).skipped == skipped
    lazy = soc_map(hmx.open_cube(tmp_path / "c.zarr"), model=mapper, level=80, tile=8)
    xr.testing.assert_equal(hmx.open_cube(job.store).load(), lazy.load())


def test_channels_of_one_array_are_found_in_the_store(tmp_path: Path) -> None:
    ds = make_covariates(years=4)
    seasons = xr.concat([ds["lst"], ds["lst"] + 3], "season").assign_coords(season=[1, 2])
    cube = ds.assign(lst=seasons.transpose("time", "season", "y", "x"))
    cube.to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    job = make_job(tmp_path / "c.zarr", _seasonal(ds), tmp_path / "soc.zarr", level=())
    assert set(job.inventory.variables) == {"lst[season=1]", "lst[season=2]", *STATICS}
    run(job)
    lazy = soc_map(hmx.open_cube(tmp_path / "c.zarr"), model=job.run.bundle, tile=16)
    xr.testing.assert_equal(hmx.open_cube(job.store).load(), lazy.load())


STATICS = ("rain", "elevation", "twi")


def _seasonal(ds: xr.Dataset) -> MapBundle:
    """A mapper whose first band is two channels of one array."""
    from dataclasses import replace

    from hmx.networks.cnn_lstm import build

    base = make_mapper(ds, history=2)
    dynamic = ("lst[season=1]", "lst[season=2]", "rain")
    spec = replace(base.spec, dynamic=dynamic)
    scales = {
        key: {**values, **dict.fromkeys(dynamic[:2], values["lst"])}
        for key, values in vars(base.scaler).items()
    }
    network = build(spec.network, dynamic=4, static=3, steps=2)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return replace(base, spec=spec, scaler=replace(base.scaler, **scales), weights=weights)


def test_an_audit_vouches_for_a_map_and_finds_what_is_wrong(copy: Job) -> None:
    audit = verify(copy.store, sample=6)
    assert (audit.tiles, audit.windows) == (12, 6)
    assert 0 <= audit.largest <= audit.tolerance == pytest.approx(2e-3)
    assert json.loads(xr.open_zarr(copy.store).attrs["hmx_audit"])["windows"] == 6
    chunk = Path(copy.store) / "soc/c/1/1"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(VerifyFailed, match=r"soc/c/1/1: a chunk of soc is damaged, at rows 16-32"):
        verify(copy.store)


def test_an_audit_finds_a_map_that_its_model_does_not_give(copy: Job) -> None:
    from hmx.cube.integrity.seal import seal_store
    from hmx.engine.ledger import Record

    array = zarr.open_group(copy.store, mode="r+")["soc"]
    assert isinstance(array, zarr.Array)
    array[:16, :16] = np.asarray(array[:16, :16]) + 1
    record = next(r for r in copy.ledger.records() if r.index == (0, 0))
    chunks = copy.ledger.checksum(list(record.chunks))
    copy.ledger.sign(Record(record.index, record.run, record.source, chunks))
    seal_store(copy.store)
    with pytest.raises(VerifyFailed, match=r"soc in rows .* is not what its model and cube give"):
        verify(copy.store, sample=30)


def test_a_plan_counts_tiles_pixels_and_bytes(stored: Path, mapper: MapBundle) -> None:
    made = plan_map(hmx.open_cube(stored), model=mapper, **OPTIONS)
    assert (made.tiles, made.grid, made.halo, made.precision) == (12, (3, 4), 4, "float32")
    assert made.bytes_written == 48 * 61 * (4 * 4 + 2)  # and two flags
    assert made.bytes_read % (4 * (2 * 4 + 2)) == 0
    assert made.seconds_per_tile > 0


def test_a_tile_beyond_memory_is_refused_with_what_to_type(
    stored: Path, mapper: MapBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 500 << 20)
    job = make_job(stored, mapper, Path("nowhere.zarr"), tile=64, chunk=32)
    with pytest.raises(BadArgument, match=r"Pass --set map\.tile=32"):
        plan(job.run, job.inventory, DaskSection(workers=2), timed=False)


def test_a_layout_that_was_begun_is_gone_on_with(copy: Job) -> None:
    assert adopt(MapOptions(level=[80]), copy.store).tile == 16
    assert adopt(MapOptions(level=[80], chunk=8), copy.store).tile is None


def test_an_object_that_is_no_store_is_refused(stored: Path, mapper: MapBundle) -> None:
    ds = hmx.open_cube(stored)
    with pytest.raises(CubeError, match="a job reads its cube from disk"):
        map_to_zarr(ds.isel(x=slice(0, 30)), "nowhere.zarr", model=mapper)


def test_forecasts_and_maps_are_no_store_of_each_other(
    copy: Job, trained: Bundle, cube: xr.Dataset, tmp_path: Path
) -> None:
    from hmx.forecast.api import forecast_to_zarr

    cube.to_zarr(tmp_path / "hm.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(OutputExists, match="holds another forecast: its"):
        forecast_to_zarr(hmx.open_cube(tmp_path / "hm.zarr"), copy.store, model=trained, h=1)


def test_quantiles_are_stored_and_a_map_without_them_keeps_its_facts(
    stored: Path, mapper: MapBundle, whole: tuple[Job, Any], tmp_path: Path
) -> None:
    assert "quantiles" not in whole[0].facts
    job = make_job(stored, mapper, tmp_path / "q.zarr", quantiles=[0.1, 0.5, 0.9])
    run(job)
    made = hmx.open_cube(job.store)
    lazy = soc_map(hmx.open_cube(stored), model=mapper, quantiles=[0.1, 0.5, 0.9], **OPTIONS)
    np.testing.assert_array_equal(made["soc_quantile"], lazy["soc_quantile"])
    with pytest.raises(OutputExists, match="quantiles"):
        run(make_job(stored, mapper, tmp_path / "q.zarr"))
