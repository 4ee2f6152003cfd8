"""Laws of what is stored: damage is found where it is read, named, and never used."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import hmx
from hmx.cli.main import hmx as command
from hmx.engine.output import require_free
from hmx.errors import HmxError, JobFailed, SourceError
from hmx.workflow import ensure_cube, ensure_result
from tests.make.cubes import make_cube, write_catalog
from tests.make.damage import KINDS, Subject, inflict, subjects
from tests.make.faults import tree

TRAIN: dict[str, Any] = {
    "h": 1, "history": 2, "width": 4, "trunk": [1], "context": [1], "epochs": 1, "steps": 1,
    "chip": 32,
}  # fmt: skip
PLACE = r"time 1990-01-01 to 2010-01-01, rows 24-48, columns 24-48, bounds \(507200, 59"


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture(scope="module", autouse=True)
def _small_chunks() -> Iterator[None]:
    """Cubes of many chunks without many pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmx.ingest.ingest.CHUNK", 24)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cube of 4 x 4 chunks, a model and a forecast of 3 x 3 tiles."""
    folder = tmp_path_factory.mktemp("made")
    ds = make_cube((72, 80), pixel=300.0)
    ds["hm"][:, :24, :24] = np.nan  # a chunk that is all missing
    ensure_result(hmx.Catalog.load(write_catalog(folder, ds)))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; file times are kept."""
    return Path(shutil.copytree(made, tmp_path / "toy"))


def flip(file: Path, at: int = -9) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 16
    file.write_bytes(data)


def swap(store: Path) -> None:
    one, other = store / "hm/c/0/1/1", store / "hm/c/0/2/1"
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def forget(store: Path, name: str) -> None:
    """Take an array out of what the root repeats."""
    root = json.loads((store / "zarr.json").read_text())
    del root["consolidated_metadata"]["metadata"][name]
    (store / "zarr.json").write_text(json.dumps(root, indent=2))


def contradict(store: Path) -> None:
    """Let the root repeat another fill value of an array."""
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["hm"]["fill_value"] = 0.5
    (store / "zarr.json").write_text(json.dumps(root, indent=2))


def test_every_array_has_a_checksum_in_each_chunk_and_any_reader_reads_it(made: Path) -> None:
    for store in ("toy.zarr", "toy_forecast.zarr"):
        found = sorted((made / store).glob("*/zarr.json"))
        arrays = [json.loads(file.read_text()) for file in found]
        arrays = [array for array in arrays if array["node_type"] == "array"]
        assert len(arrays) > 4
        for array in arrays:
            assert array["codecs"][-1]["name"] == "crc32c", array
        plain = xr.open_zarr(made / store)
        xr.testing.assert_equal(plain.load(), hmx.open_cube(made / store).load())
        assert "hmx_seal" not in plain.attrs.keys() | plain.variables.keys()


def test_chunks_without_data_are_not_stored_and_not_missed(made: Path) -> None:
    assert not (made / "toy.zarr/hm/c/0/0/0").exists()
    assert np.isnan(hmx.open_cube(made / "toy.zarr")["hm"][:, :24, :24]).all()
    assert run("verify", made / "toy.zarr").exit_code == 0


def forecast_lazily(folder: Path) -> None:
    hmx.open_cube(folder / "toy.zarr").hm.forecast(h=1, model=folder / "toy.model").load()


def forecast_as_a_job(folder: Path) -> None:
    ds = hmx.open_cube(folder / "toy.zarr")
    ds.hm.forecast_to_zarr(folder / "again.zarr", h=1, model=folder / "toy.model", tile=32)


def train(folder: Path) -> None:
    hmx.open_cube(folder / "toy.zarr").hm.train(**TRAIN)


def backtest(folder: Path) -> None:
    hmx.open_cube(folder / "toy.zarr").hm.backtest(**{**TRAIN, "h": 1, "zone_draws": 8})


def look(folder: Path) -> None:
    hmx.open_cube(folder / "toy.zarr").load()


USES = (forecast_lazily, forecast_as_a_job, train, backtest, look)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
@pytest.mark.parametrize("how", ["lost", "torn", "flipped"])
def test_no_damaged_chunk_of_a_cube_is_ever_used(
    folder: Path, use: Callable[[Path], None], how: str
) -> None:
    chunk = folder / "toy.zarr/hm/c/0/1/1"
    if how == "lost":
        chunk.unlink()
    elif how == "torn":
        chunk.write_bytes(chunk.read_bytes()[:-20])
    else:
        flip(chunk)
    with pytest.raises((SourceError, JobFailed), match=rf"chunk of hm is .* at {PLACE}") as caught:
        use(folder)
    assert "hmx ingest CATALOG --overwrite" in str(caught.value)


@pytest.mark.parametrize("plane", ["elevation/c/1/1", "x/c/0", "time/c/0"])
def test_no_damaged_covariate_or_coordinate_is_ever_used(folder: Path, plane: str) -> None:
    flip(folder / "toy.zarr" / plane, at=2)
    name = plane.partition("/")[0]
    with pytest.raises((SourceError, JobFailed), match=f"a chunk of {name} is damaged"):
        forecast_lazily(folder)
    (folder / "toy.zarr" / plane).unlink()
    with pytest.raises((SourceError, JobFailed), match=f"a chunk of {name} is lost"):
        forecast_lazily(folder)


def test_chunks_that_changed_places_are_found_though_each_is_whole(folder: Path) -> None:
    swap(folder / "toy.zarr")
    with pytest.raises(SourceError, match=r"a chunk of hm is damaged, at time 1990"):
        look(folder)
    result = run("verify", folder / "toy.zarr")
    assert result.exit_code == 1
    assert "hm/c/0/1/1: " in result.stderr
    assert "hm/c/0/2/1: " in result.stderr


def test_an_older_chunk_is_not_taken_for_the_new_one(folder: Path) -> None:
    chunk = folder / "toy.zarr/hm/c/0/1/1"
    older = chunk.read_bytes()
    for year in (1990, 1995, 2000, 2005, 2010):
        raster = folder / f"HM_{year}.tif"
        import rasterio

        with rasterio.open(raster, "r+") as file:
            file.write(file.read(1) * np.float32(0.5), 1)
    ensure_cube(hmx.Catalog.load(folder / "toy.yaml"))
    chunk.write_bytes(older)
    with pytest.raises(SourceError, match=r"a chunk of hm is damaged"):
        look(folder)


def test_a_chunk_that_nobody_wrote_is_found(folder: Path) -> None:
    shutil.copy(folder / "toy.zarr/hm/c/0/1/1", folder / "toy.zarr/hm/c/0/0/0")
    with pytest.raises(SourceError, match=r"a chunk of hm was not written by hmx, at time 1990"):
        look(folder)
    assert run("verify", folder / "toy.zarr").exit_code == 1


METADATA: dict[str, Callable[[Path], object]] = {
    "torn root": lambda s: (s / "zarr.json").write_bytes((s / "zarr.json").read_bytes()[:3000]),
    "empty root": lambda s: (s / "zarr.json").write_bytes(b""),
    "contradicting root": contradict,
    "root without an array": lambda s: forget(s, "elevation"),
    "root without its seal": lambda s: forget(s, "hmx_seal"),
    "lost seal": lambda s: shutil.rmtree(s / "hmx_seal"),
    "flipped seal": lambda s: flip(s / "hmx_seal/zarr.json", at=400),
}
UNREAD: dict[str, Callable[[Path], object]] = {
    "lost array": lambda s: (s / "hm/zarr.json").unlink(),
    "torn array": lambda s: (s / "hm/zarr.json").write_bytes(b"{"),
    "other blanks": lambda s: (s / "hm/zarr.json").write_bytes(
        (s / "hm/zarr.json").read_bytes().replace(b"\n", b"\t", 1)
    ),
    "stranger": lambda s: (s / "hm/notes.txt").write_text("mine"),
}


@pytest.mark.parametrize("wrong", METADATA)
def test_damaged_metadata_stop_the_opening(folder: Path, wrong: str) -> None:
    METADATA[wrong](folder / "toy.zarr")
    with pytest.raises(SourceError, match=r"hmx_seal|zarr\.json"):
        hmx.open_cube(folder / "toy.zarr")


@pytest.mark.parametrize("store", ["toy.zarr", "toy_forecast.zarr"])
@pytest.mark.parametrize("wrong", METADATA | UNREAD)
def test_verify_finds_every_damaged_or_foreign_file(folder: Path, wrong: str, store: str) -> None:
    if wrong == "root without an array" and "forecast" in store:
        forget(folder / store, "quality")
    else:
        (METADATA | UNREAD)[wrong](folder / store)
    result = run("verify", folder / store, "--sample", 0)
    assert result.exit_code == 1, result.output
    assert "zarr.json" in result.stderr or "notes.txt: does not belong" in result.stderr
    assert "Traceback" not in result.output


def test_verify_names_every_damaged_chunk_not_only_the_first(folder: Path) -> None:
    for at in ("1/1", "2/1", "2/2"):
        flip(folder / f"toy.zarr/hm/c/0/{at}")
    (folder / "toy.zarr/elevation/c/0/1").unlink()
    result = run("verify", folder / "toy.zarr")
    assert result.exit_code == 1
    for at in ("hm/c/0/1/1", "hm/c/0/2/1", "hm/c/0/2/2"):
        assert f"  {at}: a chunk of hm is damaged, at time 1990-01-01 to 2010" in result.stderr
    assert "elevation/c/0/1: a chunk of elevation is lost, at rows 0-24" in result.stderr
    assert "in 4 files" in result.stderr


def test_verify_of_a_catalog_looks_at_cube_and_product(folder: Path) -> None:
    result = run("verify", folder / "toy.yaml", "--sample", 1)
    assert result.exit_code == 0, result.output
    assert "toy.zarr: metadata, coordinates and" in result.stderr
    assert "computed again" in result.stderr
    flip(folder / "toy.zarr/hm/c/0/1/1")
    flip(folder / "toy_forecast.zarr/hm/c/0/1/1")
    result = run("verify", folder / "toy.yaml", "--sample", 1)
    assert result.exit_code == 1
    assert "cube: " in result.stderr
    assert "forecast: " in result.stderr


def ingested(folder: Path) -> dict[str, bytes]:
    """Make the cube of a copied folder from the copied rasters; give every byte of it."""
    assert run("ingest", folder / "toy.yaml", "--overwrite").exit_code == 0
    return tree(folder / "toy.zarr")


def test_a_cube_that_is_seen_to_be_damaged_is_ingested_anew(folder: Path) -> None:
    before = ingested(folder)
    for damage in (
        lambda s: (s / "hm/c/0/1/1").unlink(),
        METADATA["torn root"],
        METADATA["contradicting root"],
        METADATA["lost seal"],
    ):
        damage(folder / "toy.zarr")
        result = run("ingest", folder / "toy.yaml")
        assert result.exit_code == 0, result.output
        assert "cube: ingesting hm, elevation into" in result.stderr
        assert "lost" in result.stderr or "damaged" in result.stderr
        assert tree(folder / "toy.zarr") == before


def test_what_is_found_as_it_is_read_is_ingested_anew_on_demand(folder: Path) -> None:
    before = ingested(folder)
    flip(folder / "toy.zarr/hm/c/0/1/1")
    result = run("forecast", folder / "toy.yaml", "--output", folder / "new.zarr")
    assert result.exit_code in (1, 2)
    assert "a chunk of hm is damaged, at time" in result.stderr
    assert run("ingest", folder / "toy.yaml", "--overwrite").exit_code == 0
    assert tree(folder / "toy.zarr") == before
    assert run("forecast", folder / "toy.yaml", "--output", folder / "new.zarr").exit_code == 0


def test_a_damaged_cube_whose_rasters_are_gone_is_named(folder: Path) -> None:
    (folder / "HM_1995.tif").unlink()
    assert run("ingest", folder / "toy.yaml").exit_code == 0  # archived, and in the cube
    (folder / "toy.zarr/hm/c/0/1/1").unlink()
    result = run("ingest", folder / "toy.yaml")
    assert result.exit_code == 2
    assert "1 chunk lost: hm/c/0/1/1" in result.stderr
    assert "hm has no file for 1995" in result.stderr


def test_a_year_is_not_appended_to_damaged_steps(folder: Path) -> None:
    import yaml

    shutil.copy2(folder / "HM_2010.tif", folder / "HM_2015.tif")
    flip(folder / "toy.zarr/hm/c/0/1/1")
    catalog = yaml.safe_load((folder / "toy.yaml").read_text())
    catalog["cube"]["sources"]["hm"]["years"].append(2015)
    (folder / "toy.yaml").write_text(yaml.safe_dump(catalog))
    result = run("ingest", folder / "toy.yaml")
    assert result.exit_code == 1
    assert "a chunk of hm is damaged" in result.stderr


def test_a_copy_may_be_edited_and_saved_and_carries_no_seal(folder: Path) -> None:
    for opened in (hmx.open_cube(folder / "toy.zarr"), xr.open_zarr(folder / "toy.zarr")):
        copy = opened.isel(x=slice(0, 40)).assign_attrs(title="mine")
        copy["hm"] = copy["hm"] * 2
        for variable in copy.variables.values():
            variable.encoding.pop("chunks", None)
        copy = copy.drop_vars("spatial_ref").chunk()
        copy.to_zarr(folder / "copy.zarr", mode="w")
        again = hmx.open_cube(folder / "copy.zarr")
        assert again.attrs["title"] == "mine"
        xr.testing.assert_equal(again["hm"].load(), copy["hm"].load())


def test_attributes_edited_in_place_are_refused_with_the_way_to_save_a_copy(folder: Path) -> None:
    import zarr

    zarr.open_group(folder / "toy.zarr", mode="r+").attrs["title"] = "mine"
    with pytest.raises(SourceError, match=r"edited in place.*save a copy: .*to_zarr"):
        hmx.open_cube(folder / "toy.zarr")


def test_a_store_without_a_seal_is_read_as_before_and_verify_says_so(folder: Path) -> None:
    import zarr

    hmx.open_cube(folder / "toy.zarr").to_zarr(folder / "old.zarr", consolidated=False)
    assert zarr.open_group(folder / "old.zarr").attrs["hmx_status"] == "complete"
    old = hmx.open_cube(folder / "old.zarr").load()
    xr.testing.assert_equal(old, hmx.open_cube(folder / "toy.zarr").load())
    result = run("verify", folder / "old.zarr")
    assert result.exit_code == 1
    assert "carries no checksums" in result.stderr


def test_an_opened_store_has_one_name_and_travels_to_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hmx.open_cube(folder / "toy.zarr")
    monkeypatch.chdir(folder)
    other = hmx.open_cube("toy.zarr")
    assert one["hm"].data.name == other["hm"].data.name
    (folder / "toy.zarr/hm/c/0/1/1").unlink()
    there = pickle.loads(pickle.dumps(other))
    with pytest.raises(SourceError, match=f"a chunk of hm is lost, at {PLACE}") as caught:
        there.load()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_lost_chunk_is_found_where_nothing_can_be_listed(folder: Path) -> None:
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

        def list_directory(self, path: Any) -> None:
            self.send_error(403)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/toy.zarr"
    try:
        good = hmx.open_cube(url).load()
        xr.testing.assert_equal(good, hmx.open_cube(folder / "toy.zarr").load())
        (folder / "toy.zarr/hm/c/0/1/1").unlink()
        with pytest.raises(SourceError, match=f"a chunk of hm is lost, at {PLACE}"):
            hmx.open_cube(url).load()
    finally:
        server.shutdown()
        server.server_close()


def test_a_resume_from_a_damaged_cube_fails_and_then_equals_an_uninterrupted_job(
    folder: Path, made: Path
) -> None:
    chunk, store = folder / "toy.zarr/hm/c/0/1/1", folder / "toy_forecast.zarr"
    good = chunk.read_bytes()
    (store / "hm/c/0/1/1").unlink()
    chunk.write_bytes(good[:-1])
    result = run("forecast", folder / "toy.yaml")
    assert result.exit_code in (1, 2)
    assert "a chunk of hm is damaged" in result.stderr
    chunk.write_bytes(good)
    assert run("forecast", folder / "toy.yaml").exit_code == 0
    assert tree(store) == tree(made / "toy_forecast.zarr")


def copy_a_record(ledger: Path) -> None:
    shutil.copy(ledger / "tiles/0000-0001", ledger / "tiles/0001-0001")


def sign_less(ledger: Path) -> None:
    """Sign for fewer chunks than a tile has."""
    from hmx.engine.ledger import Ledger, Record

    book = Ledger(str(ledger).removesuffix(".ledger"))
    record = next(r for r in book.records() if r.index == (1, 1))
    chunks = dict(list(record.chunks.items())[:-1])
    book.sign(Record(record.index, record.run, record.source, chunks))


def sign_for_another(ledger: Path) -> None:
    """Sign for the chunks of another tile."""
    from hmx.engine.ledger import Ledger, Record

    book = Ledger(str(ledger).removesuffix(".ledger"))
    other = next(r for r in book.records() if r.index == (0, 1))
    book.sign(Record((1, 1), other.run, other.source, other.chunks))


@pytest.mark.parametrize("forge", [copy_a_record, sign_less, sign_for_another])
def test_a_record_proves_its_own_tile_and_no_other(
    folder: Path, made: Path, forge: Callable[[Path], None]
) -> None:
    forge(folder / "toy_forecast.zarr.ledger")
    result = run("verify", folder / "toy_forecast.zarr")
    assert result.exit_code == 1
    assert "no record of 1 of its tiles: (1, 1)" in result.stderr
    (folder / "toy_forecast.zarr/hm/c/0/1/1").unlink()
    assert run("forecast", folder / "toy.yaml").exit_code == 0
    assert tree(folder / "toy_forecast.zarr") == tree(made / "toy_forecast.zarr")
    tiles = "toy_forecast.zarr.ledger/tiles"
    assert tree(folder / tiles) == tree(made / tiles)


LOST: dict[str, Callable[[Path], object]] = {
    "chunk": lambda s: (s / "hm/c/0/1/1").unlink(),
    "flipped chunk": lambda s: flip(s / "quality/c/1/1"),
    "coordinate": lambda s: (s / "time/c/0").unlink(),
    "flipped coordinate": lambda s: flip(s / "y/c/0"),
    "crs": lambda s: shutil.rmtree(s / "spatial_ref"),
    "array": lambda s: (s / "hm/zarr.json").unlink(),
    "attribute": lambda s: (s / "hm/zarr.json").write_bytes(
        (s / "hm/zarr.json").read_bytes().replace(b"float32", b"float64")
    ),
    "torn root": METADATA["torn root"],
    "no root": lambda s: (s / "zarr.json").unlink(),
    "contradiction": contradict,
    "seal": METADATA["lost seal"],
    "flipped provenance": lambda s: (s / "zarr.json").write_bytes(
        (s / "zarr.json").read_bytes().replace(b"bundle", b"bumdle", 1)
    ),
    "foreign chunk": lambda s: shutil.copy(s / "hm/c/0/1/1", s / "hm/c/0/0/0"),
}


@pytest.mark.parametrize("ledger", ["whole", "torn job"])
@pytest.mark.parametrize("lost", LOST)
def test_the_same_command_makes_a_damaged_product_as_new(
    folder: Path, made: Path, lost: str, ledger: str
) -> None:
    store, job = folder / "toy_forecast.zarr", folder / "toy_forecast.zarr.ledger/job.json"
    if ledger == "torn job":
        job.write_bytes(job.read_bytes()[:-40])
    LOST[lost](store)
    result = run("forecast", folder / "toy.yaml")
    assert result.exit_code == 0, result.output
    assert tree(store) == tree(made / "toy_forecast.zarr")
    assert tree(job.parent / "tiles") == tree(made / "toy_forecast.zarr.ledger/tiles")
    assert run("verify", store, "--sample", 2).exit_code == 0


def test_a_finished_product_whose_ledger_is_gone_says_so(folder: Path) -> None:
    shutil.rmtree(folder / "toy_forecast.zarr.ledger")
    result = run("forecast", folder / "toy.yaml")
    assert result.exit_code == 0
    assert "the ledger" in result.stderr
    assert "is gone; what is left is its own checksums" in result.stderr


def test_a_file_of_the_user_in_a_store_is_kept_and_named(folder: Path) -> None:
    notes = folder / "toy_forecast.zarr/notes.txt"
    notes.write_text("mine")
    assert run("forecast", folder / "toy.yaml").exit_code == 0
    assert notes.read_text() == "mine"
    result = run("verify", folder / "toy_forecast.zarr")
    assert "notes.txt: does not belong to the store" in result.stderr


def test_a_damaged_product_is_not_read(folder: Path) -> None:
    flip(folder / "toy_forecast.zarr/hm_hi_80/c/0/1/1")
    with pytest.raises(SourceError, match=r"a chunk of hm_hi_80 is damaged.*Run the command that"):
        hmx.open_cube(folder / "toy_forecast.zarr").load()
    result = run("export", folder / "toy.yaml")
    assert result.exit_code != 0, "a GeoTIFF of damaged pixels"


def test_an_audit_that_is_changed_is_found(folder: Path) -> None:
    store = folder / "toy_forecast.zarr"
    assert run("verify", store, "--sample", 1).exit_code == 0
    root = (store / "zarr.json").read_bytes()
    (store / "zarr.json").write_bytes(root.replace(b'\\"windows\\": 1', b'\\"windows\\": 9'))
    result = run("verify", store, "--sample", 1)
    assert result.exit_code == 1
    assert "holds an audit (hmx_audit) with other values" in result.stderr
    assert run("verify", store, "--sample", 1).exit_code == 0


def strictly(file: Path) -> None:
    """Parse every JSON text in a file, as a reader does that keeps to the standard."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{file} holds a bare {word}")

    for line in [file.read_text()] if file.suffix == ".json" else file.read_text().split("\n"):
        if line.startswith("{"):
            json.loads(line, parse_constant=refuse)


def test_no_json_file_holds_a_bare_nan(folder: Path) -> None:
    ds = hmx.open_cube(folder / "toy.zarr")
    ds["hm"].attrs["nodata"] = float("nan")
    ds["hm"].attrs["limits"] = [0.0, np.inf]
    ds.to_zarr(folder / "mine.zarr", consolidated=False)
    model = hmx.load(folder / "toy.model")
    model.training["validation"] = {"leads": {"1": {"skill": float("nan")}}}
    model.save(folder / "nan.model")
    hmx.open_cube(folder / "mine.zarr").hm.forecast_to_zarr(
        folder / "nan.zarr", h=1, model=folder / "nan.model", tile=32
    )
    shutil.rmtree(folder / "mine.zarr")
    files = [*folder.rglob("*.json"), *folder.rglob("*.ledger/*"), *folder.rglob("tiles/*")]
    assert len(files) > 40
    for file in files:
        if file.is_file():
            strictly(file)
    assert "not scored" not in run("info", folder / "nan.model").stdout
    assert hmx.open_cube(folder / "nan.zarr")["hm"].attrs["limits"] == [0.0, None]


def test_info_says_whether_a_store_is_sealed_and_what_it_lacks(folder: Path) -> None:
    assert "complete, sealed" in run("info", folder / "toy.zarr").stdout
    (folder / "toy.zarr/hm/c/0/1/1").unlink()
    assert "1 chunk lost: hm/c/0/1/1" in run("info", folder / "toy.zarr").stdout


def test_maps_are_made_of_whole_chunks_alone(tmp_path: Path) -> None:
    from tests.make.damage import seal_cube, values
    from tests.make.mapworlds import make_covariates, make_mapper

    path = seal_cube(make_covariates((40, 50)), tmp_path / "bands.zarr", chunk=20)
    mapper = make_mapper(hmx.open_cube(path))
    values(hmx.open_cube(path).soc.map(model=mapper))
    (path / "rain/c/0/0/1").unlink()
    for use in (
        lambda ds: ds.soc.map(model=mapper).load(),
        lambda ds: ds.soc.map_to_zarr(tmp_path / "map.zarr", model=mapper),
    ):
        with pytest.raises(HmxError, match=r"a chunk of rain is lost, at time 1 to 4, rows 0-20"):
            use(hmx.open_cube(path))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """Stores that are damaged one after the other, and put right again."""
    return subjects(tmp_path_factory.mktemp("damaged"))


@pytest.mark.parametrize("name", ["cube", "bands", "forecast", "map"])
def test_random_damage_is_found_and_never_used(name: str, damaged: dict[str, Subject]) -> None:
    """The small version of ``python -m tests.bench.damage``."""
    subject, draw = damaged[name], random.Random(name)
    uses = [use for use in subject.uses if use != "train"]
    right = {use: subject.uses[use]() for use in uses}
    for kind, times in zip(KINDS, (12, 4, 6), strict=True):
        for _ in range(times):
            counts = inflict(subject, kind, right, draw, uses)
            assert counts["damaged"] == counts["found"], counts
            assert not counts["silently used"], counts


def test_a_product_whose_root_has_any_flipped_bit_is_still_known(folder: Path) -> None:
    store = folder / "toy_forecast.zarr"
    root = store / "zarr.json"
    data = root.read_bytes()
    for at in range(0, len(data), 41):
        torn = bytearray(data)
        torn[at] ^= 1
        root.write_bytes(torn)
        require_free(str(store), what="forecast")  # raises where it takes it for a stranger's
    root.write_bytes(b"{}")
    require_free(str(store), what="forecast")
