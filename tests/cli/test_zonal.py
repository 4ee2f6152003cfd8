"""Laws of ``hmx zonal``: tables, reuse, unfinished runs and wrong inputs."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hmx as library
from hmx.catalog import load_catalog
from hmx.windows import Index
from hmx.workflow import ensure_zones
from hmx.zones.files import read_csv
from hmx.zones.run import Parts
from hmx.zones.sums import ZoneSums
from tests.cli.test_cli import change, run
from tests.make.cubes import write_catalog
from tests.report.test_report import toy_card

CRS = {"type": "name", "properties": {"name": "EPSG:32632"}}


def square(name: str, land: str, west: float, south: float, east: float, north: float) -> dict:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    properties = {"name": name, "land": land}
    return {"type": "Feature", "properties": properties, "geometry": shape}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalog, its cube and model, two zones and their table."""
    folder = tmp_path_factory.mktemp("zonal")
    catalog = write_catalog(folder)
    assert run("train", catalog).exit_code == 0
    west, south, east, north = library.open_cube(folder / "toy.zarr").hm.grid.bounds
    middle = (west + east) / 2 + 130.0
    features = [
        square("left", "A", west, south, middle, north),
        square("right", "A", middle, south, east, north),
    ]
    layer = {"type": "FeatureCollection", "crs": CRS, "features": features}
    (folder / "zones.geojson").write_text(json.dumps(layer))
    result = run(*call(folder))
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "toy"))


def call(folder: Path, *more: object) -> tuple[object, ...]:
    zones = ("--zones", folder / "zones.geojson", "--above", 0.2, "--level", 95, "--draws", 8)
    return ("zonal", folder / "toy.yaml", *zones, *more)


def table(folder: Path, name: str = "toy_zones.csv") -> pd.DataFrame:
    return read_csv(folder / name)


def test_table_has_zones_and_the_whole(done: Path) -> None:
    found = table(done)
    assert list(found["zone"].unique()) == ["left", "right", "all"]
    assert {"hm", "hm_lo_95", "hm_hi_95", "km2_above_0.2"} <= set(found)
    # the two zones share the columns of the whole map
    first = found[found["time"] == found["time"].iloc[0]].set_index("zone")
    assert first["area_km2"][:2].sum() == pytest.approx(first["area_km2"]["all"])
    above = first["km2_above_0.2"]
    assert above[:2].sum() == pytest.approx(above["all"], rel=1e-5)


def test_command_and_python_give_the_same_numbers(done: Path) -> None:
    cube, model = library.open_cube(done / "toy.zarr"), library.load(done / "toy.model")
    asked = {"above": 0.2, "level": 95, "draws": 8}
    found = cube.hm.zonal(done / "zones.geojson", h=2, model=model, **asked)
    np.testing.assert_allclose(table(done)["hm_lo_95"], found.hm_lo_95.values.ravel(), rtol=1e-5)


def test_current_table_is_left_alone(folder: Path) -> None:
    before = (folder / "toy_zones.csv").stat().st_mtime_ns
    result = run(*call(folder))
    assert "toy_zones.csv exists and is current" in result.stderr
    assert (folder / "toy_zones.csv").stat().st_mtime_ns == before
    assert not (folder / "toy_zones.csv.work").exists()


@pytest.mark.parametrize("more", [("--draws", 9), ("--seed", 1), ("--above", 0.3), ("--h", 1)])
def test_other_options_make_another_table(folder: Path, more: tuple[object, ...]) -> None:
    before = (folder / "toy_zones.csv").read_bytes()
    result = run(*call(folder, *more))
    assert result.exit_code == 0, result.output
    assert (folder / "toy_zones.csv").read_bytes() != before


def test_damaged_table_is_made_again(folder: Path) -> None:
    whole = (folder / "toy_zones.csv").read_bytes()
    (folder / "toy_zones.csv").write_bytes(whole[:-20])
    assert run(*call(folder)).exit_code == 0
    assert (folder / "toy_zones.csv").read_bytes() == whole


def test_catalog_describes_zones(folder: Path) -> None:
    section = {"zones": "zones.geojson", "above": 0.2, "level": 95, "draws": 8, "by": "land"}
    result = run("zonal", change(folder, "zonal", {**section, "output": "lands.csv"}))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(folder / "lands.csv")
    found = table(folder, "lands.csv")
    assert list(found["zone"].unique()) == ["left", "right", "A", "all"]
    group, whole = (found[found["zone"] == name] for name in ("A", "all"))
    np.testing.assert_allclose(group["hm_hi_95"], whole["hm_hi_95"], rtol=1e-5)


def test_conservation_table_from_the_shell(folder: Path) -> None:
    out = folder / "land.md"
    result = run(*call(folder, "--table", "conservation", "--output", out))
    assert result.exit_code == 0, result.output
    assert "km2 of it lost" in out.read_text()


def test_unfinished_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that a failed run has finished are not computed again."""
    out = folder / "again.csv"
    monkeypatch.setattr("hmx.forecast.order.best_tile", lambda *_, **__: 32)
    kept: set[Index] = set()
    plain = Parts.write

    def write(self: Parts, index: Index, state: str, sums: ZoneSums) -> None:
        if len(kept | {index}) > 2:
            raise OSError("no space left on device")
        kept.add(index)
        plain(self, index, state, sums)

    monkeypatch.setattr(Parts, "write", write)
    first = run(*call(folder, "--output", out))
    assert first.exit_code == 1
    assert "no space left" in first.stderr
    assert not out.exists()
    monkeypatch.setattr(Parts, "write", plain)
    second = run(*call(folder, "--output", out))
    assert second.exit_code == 0, second.output
    assert "2 tiles are done, 2 are to do" in second.stderr
    assert not Path(f"{out}.work").exists()
    np.testing.assert_allclose(table(folder, "again.csv")["hm"], table(folder)["hm"], rtol=1e-5)


def test_two_commands_at_once_make_one_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits for the first, and finds that all is done."""
    (folder / "toy_zones.csv").unlink()
    computed: list[Index] = []
    plain = Parts.write

    def write(self: Parts, index: Index, state: str, sums: ZoneSums) -> None:
        computed.append(index)
        plain(self, index, state, sums)

    monkeypatch.setattr(Parts, "write", write)
    catalog = load_catalog(
        folder / "toy.yaml", flags={"zonal.zones": str(folder / "zones.geojson"), "zonal.draws": 8}
    )
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(ensure_zones, [catalog, catalog]))
    assert paths == [str(folder / "toy_zones.csv")] * 2
    assert len(computed) == len(set(computed)) == 1


def test_torn_counts_of_a_tile_are_computed_again(tmp_path: Path) -> None:
    store = Parts(str(tmp_path), "run")
    (tmp_path / "0000-0000").write_bytes(b'{"run": "run"}\n')
    assert store.read((0, 0), "state") is None
    assert store.read((0, 1), "state") is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--zones", "nowhere.gpkg"), "does not exist"),
        (("--zones", ""), "--zones is empty"),
        (("--level", 180), "a level is a percentage"),
        (("--by", "lnd"), "Did you mean 'land'"),
        (("--id", "nme"), "'nme'"),
        (("--draws", 1), "zonal.draws = 1"),
        (("--output", "table.txt"), "written as .csv, .gpkg, .md"),
        (("--output", "memory://table.csv"), "is written on this machine"),
        (("--set", "zonal.abvoe=1"), "abvoe"),
    ],
)
def test_wrong_inputs_name_the_rule(done: Path, words: tuple[object, ...], text: str) -> None:
    result = run(*call(done), *words)
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_zones_are_asked_for(done: Path) -> None:
    result = run("zonal", done / "toy.yaml")
    assert result.exit_code == 2
    assert "zonal.zones is not set" in result.stderr


def test_foreign_file_is_left_alone(folder: Path) -> None:
    (folder / "mine.csv").write_text("my,own\n1,2\n")
    result = run(*call(folder, "--output", folder / "mine.csv"))
    assert result.exit_code == 2
    assert "no record of hmx" in result.stderr
    assert (folder / "mine.csv").read_text() == "my,own\n1,2\n"


def test_plan_states_the_cost_of_zones(done: Path) -> None:
    result = run("plan", done / "toy.yaml", "--set", f"zonal.zones={done / 'zones.geojson'}")
    assert result.exit_code == 0, result.output
    assert "2 zones, 200 draws" in result.stdout


def test_a_report_has_the_zones_of_its_catalog_and_is_made_once(folder: Path) -> None:
    zones = ("--zones", folder / "zones.geojson", "--set", "zonal.draws=8")
    made = run("report", folder / "toy.yaml", *zones)
    assert made.exit_code == 0, made.output
    path = folder / "toy_report.html"
    assert made.stdout.splitlines()[-1] == str(path)
    text = path.read_text(encoding="utf-8")
    assert all(word in text for word in ('<section id="zones">', "left", "right"))
    assert "There is no scorecard in this report" in text
    assert path.stat().st_size < 25_000_000
    again = run("report", folder / "toy.yaml", *zones)
    assert f"{path} exists and is current" in again.stderr
    card = replace(toy_card(), facts={"target": "hm", "cube": "of another cube"})
    card.save(str(folder / "toy_scorecard"))
    other = run("report", folder / "toy.yaml", "--budget", 1)  # without zones: another report
    assert f"{path} exists and is current" not in other.stderr
    assert "toy_scorecard; hmx evaluate makes another. This scorecard is of" in other.stderr
    assert "There is no scorecard in this report" in path.read_text(encoding="utf-8")
    assert path.stat().st_size <= 1_000_000


def test_wrong_reports_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path)
    (tmp_path / "thesis.html").write_text("years of work")
    for flags, message in (
        (("--output", tmp_path / "thesis.html"), "not a report that hmx wrote"),
        (("--budget", 0), "report.budget"),
        (("--card", tmp_path / "none"), "there is no scorecard"),
    ):
        result = run("report", catalog, *flags)
        assert result.exit_code in (1, 2)
        assert message in result.output
    assert not (tmp_path / "toy.zarr").exists()
