"""Laws of the command line on catalogs with points."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from click.testing import CliRunner, Result

import hmx as library
from hmx.cli.main import hmx
from hmx.zones.files import read_csv
from tests.make.cubes import write_catalog, write_raster
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import make_points, write_map_catalog

LAYERS = {"soc", "soc_lo_80", "soc_hi_80", "dissimilarity", "applicable", "quality"}


def run(*words: object) -> Result:
    return CliRunner().invoke(hmx, [str(word) for word in words])


def told(result: Result, code: int = 0) -> str:
    """The last line of standard output, of a command that ended as expected."""
    assert result.exit_code == code, result.output
    return result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``hmx map`` has run once."""
    folder = tmp_path_factory.mktemp("done")
    told(run("map", write_map_catalog(folder)))
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil; file times are kept."""
    return Path(shutil.copytree(done, tmp_path / "soils"))


def test_map_makes_cube_model_and_map(done: Path) -> None:
    made = xr.open_zarr(done / "soils_map.zarr")
    assert set(made.data_vars) == LAYERS
    assert made.attrs["hmx_status"] == "complete"
    cube = library.open_cube(done / "soils.zarr")
    lazy = cube.soc.map(model=done / "soils.model", level=80, tile=16)
    stored = library.open_cube(done / "soils_map.zarr")
    xr.testing.assert_equal(stored.load(), lazy.load())


def test_run_again_all_is_there_and_current(done: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}

    before, catalog = stamps(), done / "soils.yaml"
    for command, product, count in (
        ("ingest", "soils.zarr", 1),
        ("train", "soils.model", 2),
        ("map", "soils_map.zarr", 3),
    ):
        result = run(command, catalog)
        assert told(result) == str(done / product)
        assert result.stderr.count("exists and is current") == count
        assert run(command, catalog, "--quiet").stderr == ""
    assert stamps() == before


def test_info_and_ingest_look_at_the_points_before_there_is_a_cube(tmp_path: Path) -> None:
    catalog = write_map_catalog(tmp_path)
    said = run("info", catalog)
    assert said.exit_code == 0
    assert "90 rows of points.csv: 90 with a place and a value of soc, " in said.stdout
    assert "columns 'x' and 'y' of points.csv read as EPSG:32632" in said.stdout
    for command in ("info", "ingest", "train", "map", "evaluate"):
        wrong = run(command, catalog, "--set", "points.target=SOC")
        assert wrong.exit_code == 2
        assert "'SOC' is not in points.csv" in wrong.stderr
        assert "Did you mean 'soc'?" in wrong.stderr
        same = run(command, catalog, "--set", "points.target=lst")
        assert same.exit_code == 2
        assert not (tmp_path / "soils.zarr").exists()
    made = run("ingest", catalog)
    assert told(made) == str(tmp_path / "soils.zarr")
    assert "points: 90 rows of points.csv: " in made.stderr
    assert " samples of soc (g/kg) at " in run("info", catalog).stdout
    away = run("info", catalog, "--set", "points.crs=EPSG:32633")
    assert away.exit_code == 2
    assert "all 90 points lie outside the cube" in away.stderr


def test_levels_regions_outputs_and_geotiffs_are_flags(folder: Path) -> None:
    words = ("--level", 50, "--level", 90, "--region", "501000,5993000,504000,5996000")
    out = ("--output", folder / "part.zarr", "--cog", folder / "tifs")
    assert told(run("map", folder / "soils.yaml", *words, *out)) == str(folder / "part.zarr")
    made = library.open_cube(folder / "part.zarr")
    assert {"soc_lo_50", "soc_hi_90"} <= set(made.data_vars)
    assert made["soc"].shape == (12, 12)
    whole = library.open_cube(folder / "soils_map.zarr")["soc"]
    np.testing.assert_allclose(made["soc"], whole.sel(x=made["x"], y=made["y"]), rtol=1e-5)
    with rasterio.open(folder / "tifs" / "soc.tif") as file:
        np.testing.assert_array_equal(file.read(1), made["soc"])
        assert file.crs == made.rio.crs
    # and the widths of two intervals
    assert len(list((folder / "tifs").glob("*.tif"))) == len(made.data_vars) + 2


def test_a_map_of_a_date_is_asked_for_by_year_or_day(tmp_path: Path) -> None:
    ds = make_covariates((20, 24), years=4)
    catalog = write_map_catalog(
        tmp_path, ds, make_points(ds),
        model={"history": 2}, points={"date": "year"},
        train={"runs": 1, "epochs": 1, "split": {"method": "random", "folds": 2}},
    )  # fmt: skip
    told(run("map", catalog, "--time", 2012))
    made = library.open_cube(tmp_path / "soils_map.zarr")
    assert str(made["time"].values)[:10] == "2012-01-01"
    again = run("map", catalog, "--time", "2012-01-01")
    assert "soils_map.zarr exists and is current" in again.stderr
    assert "date        2012-01-01" in run("info", tmp_path / "soils_map.zarr").stdout
    other = run("map", catalog)
    assert other.exit_code == 2
    assert "its date is '2012-01-01' and this one's is '2013-01-01'" in other.stderr
    early = run("map", catalog, "--time", 2010, "--output", tmp_path / "early.zarr")
    assert early.exit_code == 2
    assert "needs 2 steps up to it" in early.stderr


def test_a_plan_says_what_a_map_costs_and_writes_none(folder: Path) -> None:
    shutil.rmtree(folder / "soils_map.zarr")
    result = run("plan", folder / "soils.yaml", "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert (made["shape"], made["tiles"], made["tile"], made["halo"]) == ([32, 36], 6, 16, 1)
    assert not (folder / "soils_map.zarr").exists()
    assert "6 of 16 px to compute" in run("plan", folder / "soils.yaml").stdout


def test_a_map_is_exported_verified_and_described(folder: Path) -> None:
    catalog, store = folder / "soils.yaml", folder / "soils_map.zarr"
    assert told(run("export", catalog)) == str(folder / "soils_map_cog")
    layers = {p.stem for p in (folder / "soils_map_cog").glob("*.tif")}
    assert layers == LAYERS | {"soc_width_80"}
    assert told(run("export", store, "--output", folder / "x")) == str(folder / "x")
    checked = run("verify", catalog, "--sample", 2)
    assert told(checked) == str(store)
    assert "6 tiles and 36 chunks match the ledger" in checked.stderr
    said = run("info", catalog).stdout
    for line in (
        "maps        soc in g/kg, 0 to 1000, learnt as log1p(soc)",
        "lst, rain x 4 steps of every year",
        "windows of 3 x 3 px of 250 x 250 m",
        "2 networks and a Gaussian process and a forest of weight 0.5",
        "81 samples at 77 sites of points.csv (9 rows left out), steps 1 to 4",
        "held out    R2 ",
        "matters     lst ",
        "area of applicability",
        "status      complete",
        "2 windows computed again",
        "32 rows x 36 columns of 250 x 250 m",
    ):
        assert line in said
    assert run("info", store).stdout in said
    assert run("info", folder / "soils.model").stdout in said
    chunk = store / "soc" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert run("verify", catalog).exit_code == 1


def test_what_is_not_made_yet_is_said(tmp_path: Path) -> None:
    said = run("info", write_map_catalog(tmp_path))
    assert said.exit_code == 0
    assert said.stdout.count("not made yet") == 3
    assert "soils_map.zarr" in said.stdout


def test_evaluate_ends_with_the_table_the_verdict_and_the_folder(folder: Path) -> None:
    words = ("--level", 80, "--set", "evaluate.beside=[]", "--set", "train.epochs=1")
    first = run("evaluate", folder / "soils.yaml", *words)
    assert told(first) == str(folder / "soils_scorecard")
    card = json.loads((folder / "soils_scorecard" / "scorecard.json").read_text())
    assert card["verdict"] in first.stdout.replace("\n", " ")
    assert "network ensemble, 80 %" in first.stdout
    again = run("evaluate", folder / "soils.yaml", *words)
    assert again.stdout == first.stdout
    assert "soils_scorecard exists and is current" in again.stderr
    assert run("evaluate", folder / "soils.yaml", *words, "--quiet").stdout == f"{told(first)}\n"
    taken = run("evaluate", folder / "soils.yaml", *words, "--output", folder)
    assert taken.exit_code == 2
    assert "is not a scorecard of a map, so it is left alone" in taken.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("evaluate", "--h", "2"), "--h belongs to forecasts, and "),
        (("evaluate", "--origin", "2010"), "--origin belongs to forecasts"),
        (("evaluate", "--folds", "3"), "--set train.split.folds=10"),
        (("evaluate", "--model", "m"), "--model belongs to forecasts"),
        (("plan", "--h", "2"), "--h belongs to forecasts"),
        (("plan", "--exceed", "2"), "--exceed belongs to forecasts"),
        (("forecast",), "has points, so it maps and does not forecast. Type hmx map"),
        (("folds",), "has points, so it maps"),
        (("train", "--set", "trian.epochs=3"), "unknown key 'trian'"),
        (("train", "--set", "train.epoch=3"), "Did you mean 'epochs'?"),
        (("train", "--set", "points.wher=a"), "Did you mean 'where'?"),
        (("map", "--set", "map.levle=[80]"), "Did you mean 'level'?"),
        (("map", "--level", "120"), "a level is a percentage between 0 and 100. Try 80"),
        (("map", "--time", "2012"), "so its map has no date"),
        (("map", "--level", "60"), "holds another map: its level is [80.0]"),
    ],
)
def test_what_cannot_be_is_told_with_exit_code_2(
    done: Path, words: tuple[str, ...], text: str
) -> None:
    result = run(words[0], done / "soils.yaml", *words[1:])
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ({"crs": None}, "points without CRS"),
        ({"target": "socc"}, "'socc' is not in points.csv"),
        ({"target": "region"}, "target column 'region' of points.csv is not numeric"),
        ({"crs": "EPSG:4326"}, "is not a longitude or latitude, so these look like metres"),
        ({"crs": "EPSG:32633"}, "all 90 points lie outside the cube"),
        ({"target": "twi"}, "'twi' is not in points.csv"),
        ({"separator": ";"}, "points.csv has one column"),
        ({"path": "gone.csv"}, "points cannot be read from"),
        ({"where": "soc !! 4"}, "is not a filter"),
    ],
)
def test_bad_points_are_told_with_exit_code_2(
    done: Path, tmp_path: Path, points: dict[str, str | None], text: str
) -> None:
    catalog = yaml.safe_load((done / "soils.yaml").read_text())
    catalog["points"] = {"path": str(done / "points.csv"), "crs": "EPSG:32632", **points}
    path = done / f"bad-{tmp_path.name}.yaml"
    path.write_text(yaml.safe_dump(catalog))
    result = run("train", path, "--set", f"model.path={tmp_path / 'm'}")
    path.unlink()
    assert result.exit_code == 2
    assert text in result.stderr
    assert not (tmp_path / "m").exists()


def test_a_catalog_without_points_does_not_map(tmp_path: Path) -> None:
    result = run("map", write_catalog(tmp_path))
    assert result.exit_code == 2
    assert "has no points, so it forecasts and does not map. Type hmx forecast" in result.stderr


def test_a_bundle_of_the_other_job_is_refused(
    done: Path, tmp_path: Path, trained: library.Bundle, trained_mapper: library.MapBundle
) -> None:
    place = shutil.copytree(trained.path, tmp_path / "forecaster")
    result = run("map", done / "soils.yaml", "--set", f"model.path={place}")
    assert result.exit_code == 2
    assert "forecasts rasters" in result.stderr
    place = shutil.copytree(trained_mapper.path, tmp_path / "mapper")
    other = run("forecast", write_catalog(tmp_path), "--set", f"model.path={place}")
    assert other.exit_code == 2
    assert "maps what was sampled" in other.stderr


def test_zones_of_a_map_are_added_up_and_kept(folder: Path) -> None:
    numbers = np.repeat([1, 2], 16)[:, None] * np.ones(36, "int32")
    write_raster(folder / "zones.tif", numbers.astype("int32"), nodata=0, pixel=250.0)
    call = "zonal", folder / "soils.yaml", "--zones", folder / "zones.tif", "--level", 90
    result = run(*call, "--above", 4, "--draws", 20)
    assert "g/kg is not a stock per area" in result.stderr
    table = read_csv(told(result))
    assert list(table["zone"]) == ["1", "2", "all"]
    assert {"soc", "soc_lo_90", "soc_hi_90", "soc_estimate", "km2_above_4", "unlike"} <= set(table)
    assert ((table["soc_lo_90"] < table["soc"]) & (table["soc"] < table["soc_hi_90"])).all()
    again = run(*call, "--above", 4, "--draws", 20)
    assert "exists and is current" in again.stderr
    refused = run(*call, "--table", "conservation", "--overwrite")
    assert refused.exit_code == 2
    assert "a map of samples has none. Leave out table=" in refused.stderr
