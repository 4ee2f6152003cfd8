"""Laws of the command line: products, reuse, exit codes and messages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
import yaml
from click.testing import CliRunner, Result

import hmx as library
from hmx.cli.main import hmx
from tests.make.cubes import make_cube, write_catalog, write_raster
from tests.make.nested import require_nested


def run(*words: object) -> Result:
    return CliRunner().invoke(hmx, [str(word) for word in words])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``hmx forecast`` has run once."""
    folder = tmp_path_factory.mktemp("done")
    catalog = write_catalog(folder)
    result = run("forecast", catalog)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil; file times are kept."""
    return Path(shutil.copytree(done, tmp_path / "toy"))


def change(folder: Path, path: str, value: Any) -> Path:
    """Write a value into a copy of the catalog."""
    catalog = yaml.safe_load((folder / "toy.yaml").read_text())
    at = catalog
    *parents, last = path.split(".")
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = value
    (folder / "changed.yaml").write_text(yaml.safe_dump(catalog, sort_keys=False))
    return folder / "changed.yaml"


def test_forecast_makes_cube_model_and_forecast(done: Path) -> None:
    cube = library.open_cube(done / "toy.zarr")
    fc = xr.open_zarr(done / "toy_forecast.zarr")
    assert library.load(done / "toy.model").spec.static == ("elevation",)
    assert [str(t)[:4] for t in fc["time"].values] == ["2015", "2020"]
    assert set(fc.data_vars) >= {"hm", "hm_lo_80", "hm_hi_80", "quality"}
    assert require_nested(fc, "hm") == 2
    assert fc.rio.crs == cube.rio.crs
    assert fc.attrs["hmx_status"] == "complete"
    assert fc["hm"].attrs["grid_mapping"] == "spatial_ref"
    np.testing.assert_array_equal(np.isnan(fc["hm"][0]), np.isnan(cube["hm"][-1]))


def test_the_stored_forecast_equals_the_lazy_one(done: Path) -> None:
    cube = library.open_cube(done / "toy.zarr")
    stored = library.open_cube(done / "toy_forecast.zarr")
    lazy = cube.hm.forecast(h=2, model=done / "toy.model", level=80, tile=32)
    xr.testing.assert_equal(stored.load(), lazy.load())


def test_run_again_all_is_done_and_nothing_is_written(folder: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    before = stamps()
    result = run("forecast", folder / "toy.yaml")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("exists and is current") == 3
    assert f"next: hmx report {folder / 'toy.yaml'}  (" in result.stderr
    assert stamps() == before


def test_the_product_is_the_last_line_of_standard_output(folder: Path) -> None:
    for command, product in (
        ("ingest", "toy.zarr"),
        ("train", "toy.model"),
        ("forecast", "toy_forecast.zarr"),
    ):
        result = run(command, folder / "toy.yaml")
        assert result.stdout.splitlines()[-1] == str(folder / product)
        assert run(command, folder / "toy.yaml", "--quiet").stderr == ""


def test_flags_stand_above_the_catalog(folder: Path) -> None:
    out = folder / "other.zarr"
    result = run(
        "forecast", folder / "toy.yaml", "--h", 1, "--level", 50, "--level", 90, "--output", out
    )
    assert "next: " not in result.stderr  # the catalog alone would make another forecast
    assert result.exit_code == 0, result.output
    fc = library.open_cube(out)
    assert fc.sizes["time"] == 1
    assert {"hm_lo_50", "hm_lo_90"} <= set(fc.data_vars)
    assert "hm_lo_80" not in fc


def test_probabilities_of_exceedance_are_forecast_from_the_shell(folder: Path) -> None:
    out = folder / "exceed.zarr"
    words = ("--exceed", 0.1, "--exceed", 0.4, "--output", out)
    result = run("forecast", folder / "toy.yaml", *words)
    assert result.exit_code == 0, result.output
    assert library.open_cube(out)["threshold"].values == pytest.approx([0.1, 0.4])


def test_a_region_is_forecast_from_the_shell(folder: Path) -> None:
    result = run(
        "forecast", folder / "toy.yaml", "--region", "500000,5995000,505000,6000000",
        "--output", folder / "part.zarr",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert library.open_cube(folder / "part.zarr").sizes["x"] == 17


def test_a_later_year_is_appended_and_the_model_follows(folder: Path) -> None:
    plane = make_cube((48, 56), steps=6)["hm"].values[-1]
    write_raster(folder / "HM_2015.tif", plane, nodata=np.nan)
    catalog = change(folder, "cube.sources.hm.years", [1990, 1995, 2000, 2005, 2010, 2015])
    result = run("train", catalog)
    assert result.exit_code == 0, result.output
    assert "the cube has changed since" in result.stderr
    assert "model: skill " in result.stderr
    assert library.open_cube(folder / "toy.zarr").sizes["time"] == 6


def test_a_model_of_other_settings_is_trained_again_and_says_why(folder: Path) -> None:
    result = run("train", folder / "toy.yaml", "--set", "train.epochs=2")
    assert result.exit_code == 0, result.output
    assert "train.epochs is 2, and was 1" in result.stderr


def test_an_interrupted_forecast_is_told_and_finished(folder: Path) -> None:
    import zarr

    store = folder / "toy_forecast.zarr"
    group = zarr.open_group(store, mode="r+")
    group.attrs["hmx_status"] = "incomplete"
    group["hm"][:] = 0
    with pytest.warns(UserWarning, match="is incomplete"):
        library.open_cube(store)
    assert run("forecast", folder / "toy.yaml").exit_code == 0
    fresh = library.open_cube(store)
    assert fresh.attrs["hmx_status"] == "complete"
    assert float(fresh["hm"].max()) > 0


def test_another_forecast_is_replaced_only_when_asked(folder: Path) -> None:
    refused = run("forecast", folder / "toy.yaml", "--h", 1)
    assert refused.exit_code == 2
    assert (
        "holds another forecast: its h is 2 and this one's is 1. Pass --overwrite" in refused.stderr
    )
    assert library.open_cube(folder / "toy_forecast.zarr").sizes["time"] == 2
    assert run("forecast", folder / "toy.yaml", "--h", 1, "--overwrite").exit_code == 0
    assert library.open_cube(folder / "toy_forecast.zarr").sizes["time"] == 1


def test_a_forecast_that_dies_half_way_says_incomplete_and_is_finished(folder: Path) -> None:
    from hmx.progress import Progress
    from hmx.workflow import ensure_result

    catalog = library.Catalog.load(folder / "toy.yaml", [f"forecast.output={folder / 'half.zarr'}"])

    def die(done: int, total: int, text: str) -> None:
        assert total > 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_result(catalog, Progress(on_step=die))
    with pytest.warns(UserWarning, match="is incomplete"):
        library.open_cube(folder / "half.zarr")
    xr.testing.assert_equal(
        library.open_cube(ensure_result(catalog)).load(),
        library.open_cube(folder / "toy_forecast.zarr").load(),
    )


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
def test_a_forecast_that_its_owner_saved_is_never_touched(folder: Path, flag: str) -> None:
    cube = library.open_cube(folder / "toy.zarr")
    fc = cube.hm.forecast(h=2, level=80, tile=32, model=folder / "toy.model")
    fc.assign(notes=("time", [1, 2])).to_zarr(folder / "mine.zarr", consolidated=False)
    result = run("forecast", folder / "toy.yaml", "--output", folder / "mine.zarr", flag)
    assert result.exit_code == 2
    assert "holds something that hmx did not write" in result.stderr
    assert "notes" in library.open_cube(folder / "mine.zarr")


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
def test_what_hmx_did_not_write_is_never_touched(folder: Path, flag: str) -> None:
    precious = folder / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    result = run("forecast", folder / "toy.yaml", "--output", precious, flag)
    assert result.exit_code == 2
    assert "holds something that hmx did not write" in result.stderr
    assert (precious / "thesis.txt").read_text() == "mine"


def test_info_tells_what_is_there(done: Path) -> None:
    text = run("info", done / "toy.yaml").stdout
    for piece in ("48 rows x 56 columns of 300 x 300 m", "EPSG:32632", "5 years", "calibrated for"):
        assert piece in text
    assert "hm x 2 steps, elevation" in run("info", done / "toy.model").stdout
    assert "2015-01-01 to 2020-01-01" in run("info", done / "toy_forecast.zarr").stdout


def test_a_dask_scheduler_can_do_the_work(folder: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(  # with None, its HTTP server wants a port that others may have
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as c:
        result = run(
            "forecast", folder / "toy.yaml", "--scheduler", c.scheduler_address,
            "--output", folder / "there.zarr",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    xr.testing.assert_equal(
        library.open_cube(folder / "there.zarr").load(),
        library.open_cube(folder / "toy_forecast.zarr").load(),
    )


def test_a_scheduler_that_does_not_answer_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    result = run(
        "forecast",
        folder / "toy.yaml",
        "--scheduler",
        "tcp://127.0.0.1:9",
        "--output",
        folder / "x.zarr",
    )
    assert result.exit_code == 2
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in result.stderr


def test_stopping_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import sys

    from hmx import workflow
    from hmx.cli.main import main

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "ensure_result", stop)
    monkeypatch.setattr(sys, "argv", ["hmx", "forecast", str(folder / "toy.yaml")])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 130
    assert "Run the same command again to go on." in capsys.readouterr().err


def test_a_fault_of_our_own_exits_1_and_debug_shows_where(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmx import workflow

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(workflow, "ensure_result", fail)
    result = run("forecast", folder / "toy.yaml")
    assert result.exit_code == 1
    assert "ZeroDivisionError: ours" in result.stderr
    assert "Traceback" not in result.stderr
    result = run("forecast", folder / "toy.yaml", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "in fail\n" in result.stderr


def remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def truncate(folder: Path) -> None:
    raster = folder / "HM_2000.tif"
    raster.write_bytes(raster.read_bytes()[:700])


def other_grid(folder: Path) -> None:
    write_raster(folder / "elevation.tif", np.ones((48, 56), "float32"), pixel=250.0)


def no_crs(folder: Path) -> None:
    for path in folder.glob("*.tif"):
        path.unlink()
    for year in range(1990, 2011, 5):
        write_raster(folder / f"HM_{year}.tif", np.ones((48, 56), "float32"), crs=None)
    write_raster(folder / "elevation.tif", np.ones((48, 56), "float32"), crs=None)


def all_nan(folder: Path) -> None:
    for path in folder.glob("HM_*.tif"):
        write_raster(path, np.full((48, 56), np.nan, "float32"))


def nothing(folder: Path) -> None:
    """Leave the files as they are."""


BAD_FILES = [
    (remove("HM_2000.tif"), (), r"HM_2000.tif"),
    (truncate, (), r"HM_2000.tif"),
    (other_grid, (), r"elevation.tif is on another grid"),
    (no_crs, (), r"CRS"),
    (all_nan, (), r"hm has no valid pixel"),
    (
        nothing,
        ("cube.sources.hm.years=[1990, 1995, 2005, 2010]",),
        "time is irregular: the step from",
    ),
    (
        nothing,
        ("cube.sources.hm.years=[1990, 1995]", "train.h=1"),
        "has 2 time steps and this needs 3",
    ),
]


@pytest.mark.parametrize(("spoil", "sets", "text"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_bad_files_exit_2_and_are_named(
    done: Path, tmp_path: Path, spoil: Any, sets: tuple[str, ...], text: str
) -> None:
    for path in [*done.glob("*.tif"), done / "toy.yaml"]:
        shutil.copy(path, tmp_path)
    spoil(tmp_path)
    result = run("forecast", tmp_path / "toy.yaml", *(w for s in sets for w in ("--set", s)))
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "toy_forecast.zarr").exists()


BAD_WORDS = [
    (("--h", 0), "forecast.h = 0 in"),
    (("--level", 180), "a level is a percentage between 0 and 100. Try 80."),
    (("--set", "forecst.h=2"), "Did you mean 'forecast'?"),
    (("--set", "train.epoch=2"), "Did you mean 'epochs'?"),
    (("--set", "forecast.h"), "write key.path=value"),
    (("--device", "tpu"), "device='tpu' is not here"),
    (("--workers", 0), "dask.workers = 0"),
    (("--region", "1,2,3"), "a box is west,south,east,north"),
    (("--region", "1,2,3,4"), "(500000, 5985600, 516800, 6000000) in EPSG:32632. Pass west, south"),
    (("--set", "evaluate.baselines=[rigde]"), "Did you mean 'ridge'?"),
    (("--h", "many"), "'many' is not a valid integer"),
    (("--nonsense",), "No such option"),
]


@pytest.mark.parametrize(("words", "text"), BAD_WORDS, ids=range(len(BAD_WORDS)))
def test_bad_words_exit_2_and_say_what_to_type(
    folder: Path, words: tuple[object, ...], text: str
) -> None:
    result = run("forecast", folder / "toy.yaml", *words, "--output", folder / "new.zarr")
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no catalog"),
        ("a: [1", "is not YAML at line"),
        ("- a list", "a catalog is a mapping"),
        ("cube: {path: x.zarr, sources: {}}", "cube.sources"),
    ],
    ids=["missing", "broken", "list", "no sources"],
)
def test_a_bad_catalog_exits_2(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text)
    result = run("ingest", path)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("harm", ["version", "weight"])
def test_a_bad_bundle_exits_2_and_is_not_overwritten(folder: Path, harm: str) -> None:
    description = folder / "toy.model" / "bundle.json"
    if harm == "version":
        description.write_text(description.read_text().replace('"format": 2', '"format": 99'))
        text = "has format 99"
    else:
        (folder / "toy.model" / "weights.safetensors").unlink()
        text = "is damaged"
    before = description.read_text()
    result = run("forecast", folder / "toy.yaml", "--output", folder / "new.zarr")
    assert result.exit_code == 2
    assert text in result.stderr
    assert description.read_text() == before


def test_plan_says_what_a_forecast_would_cost_and_writes_none_of_it(folder: Path) -> None:
    words = ("--level", 50, "--output", folder / "x.zarr")
    result = run("plan", folder / "toy.yaml", *words[:2])
    assert result.exit_code == 0, result.output
    assert "4 of 32 px to compute, 0 with nothing in them, in 2 rows x 2 columns" in result.stdout
    facts = json.loads(run("plan", folder / "toy.yaml", "--json", "--h", 1, "--quiet").stdout)
    assert facts["tiles"] == 4
    assert facts["bytes_written"] == 48 * 56 * (1 * 3 * 4 + 1)
    assert facts["seconds"] > 0
    assert not (folder / "x.zarr").exists()
    shared = run("plan", folder / "toy.yaml", "--set", "forecast.chunk=24")
    assert shared.exit_code == 2
    assert "tile=32 is not a whole number of chunks (chunk=24)" in shared.stderr


def test_verify_vouches_for_a_store_and_finds_a_flipped_bit(folder: Path) -> None:
    store = folder / "toy_forecast.zarr"
    for what in (store, folder / "toy.yaml"):
        result = run("verify", what, "--sample", 3)
        assert result.exit_code == 0, result.output
        assert "4 tiles and 16 chunks match the ledger" in result.stderr
        assert result.stdout.splitlines()[-1] == str(store)
    assert json.loads(library.open_cube(store).attrs["hmx_audit"])["windows"] == 3
    chunk = store / "hm/c/0/1/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    result = run("verify", store)
    assert result.exit_code == 1
    assert "hm/c/0/1/0: a chunk of hm is damaged, at time " in result.stderr
    assert "rows 32-48, columns 0-32, bounds (500000, 5985600, 509600, 5990400)" in result.stderr
    assert "Traceback" not in result.output
    assert run("forecast", folder / "toy.yaml").exit_code == 0
    again = run("verify", store)
    assert again.exit_code == 0, again.output


def test_a_poisoned_tile_is_told_and_the_command_fails(folder: Path) -> None:
    chunk = folder / "toy.zarr/hm/c/0/0/0"
    chunk.write_bytes(b"poison" + chunk.read_bytes()[6:])
    result = run("forecast", folder / "toy.yaml", "--output", folder / "new.zarr")
    assert result.exit_code == 1
    assert "tile (0, 0), rows 0-32, columns 0-32, bounds (500000," in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["ingest", "train", "plan", "forecast", "verify", "info"])
def test_every_command_explains_itself(command: str) -> None:
    text = run(command, "--help").stdout
    assert "CATALOG" in text
    assert "--set" in text
    assert command in run("--help").stdout


def test_info_describes_what_is_whole_beside_what_is_damaged(folder: Path) -> None:
    root = folder / "toy.zarr" / "zarr.json"
    root.write_bytes(root.read_bytes()[:200])
    result = run("info", folder / "toy.yaml")
    assert result.exit_code == 1
    assert "zarr.json is damaged" in result.stdout
    assert "2015" in result.stdout.split("\nforecast ")[1]
