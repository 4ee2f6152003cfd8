"""The page of zones is true: its examples run, and its columns and variables exist."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import xarray as xr
from matplotlib.figure import Figure

import hmx
from hmx.zones.files import read_csv
from hmx.zones.report import MARKER
from tests.conftest import ROOT
from tests.zones.test_history import halves

PAGE = (ROOT / "hmx" / "guide" / "zones.md").read_text(encoding="utf-8")
TOP = PAGE.split("\n## Why")[0]
CONSERVATION = PAGE.split("## Conservation tables")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def run(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """Run the examples on a small cube and a model that is trained already."""
    folder = tmp_path_factory.mktemp("guide")
    cube.to_zarr(folder / "build" / "demo.zarr", consolidated=False, zarr_format=3)
    (folder / "parks.geojson").write_text(json.dumps(halves(cube)))
    first, second = (part.split("```python\n")[1].split("```")[0] for part in (TOP, CONSERVATION))
    training = 'ds.hm.train(static=["elevation"], epochs=2, out="build/zones.model")'
    assert training in first
    first = first.replace(training, f"hmx.load({str(trained.path)!r})")
    first = first.replace("forecast(h=4)", "forecast(h=2, model=model)")
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in (first.replace("level=[", "draws=20, level=["), second):
            exec(
                compile(code.replace("target_share", "draws=20, target_share"), "zones.md", "exec"),
                names,
            )
            names.setdefault("first", names["table"])
    return folder, names


def test_the_examples_write_what_they_name(run: tuple[Path, dict[str, object]]) -> None:
    folder, names = run
    made = {path.name for path in (folder / "build").iterdir()}
    assert {"parks.csv", "parks.gpkg", "parks.qml", "parks.png", "transitions.csv"} <= made
    frame = read_csv(folder / "build" / "parks.csv")
    assert frame["zone"].unique().tolist() == ["left", "right", "all"]
    assert (folder / "build" / "parks.png").stat().st_size > 10_000
    lost = names["lost"]
    assert isinstance(lost, xr.DataArray)
    assert float(lost.sel(zone="all").max()) >= 0


def test_columns_and_variables_of_the_page_exist(run: tuple[Path, dict[str, object]]) -> None:
    table, conserved = run[1]["first"], run[1]["table"]
    assert isinstance(table, xr.Dataset)
    assert isinstance(conserved, xr.Dataset)
    listed = re.findall(r"^\| (`.*?) \|", TOP, flags=re.MULTILINE)
    columns = {name for row in listed for name in re.findall(r"`([\w.]+)`", row)}
    known = {*table.hm.zone_frame(), *map(str, table.variables)}
    asked = {"unlike", "p_above_0.4_grows_1_percent"}  # recorded by some models; grows=[1]
    assert len(columns) > 8
    assert {c for c in columns if not c.startswith("...")} - asked <= known
    rows = re.findall(r"^\| (`.*?) \|", CONSERVATION, flags=re.MULTILINE)
    variables = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(variables) > 8
    assert variables <= {*map(str, conserved.data_vars)}
    assert conserved.attrs["target_share"] == 30


def test_a_report_is_short_and_names_where_intervals_come_from(
    run: tuple[Path, dict[str, object]],
) -> None:
    folder, names = run
    table = names["first"]
    assert isinstance(table, xr.Dataset)
    (path,) = table.hm.save_zones(folder / "parks.md")
    text = path.read_text(encoding="utf-8")
    assert text.startswith(MARKER)
    assert "joint draws (seed 0)" in text
    assert len(text) < 4000


def test_the_picture_of_the_page_is_small_and_shows_what_the_page_states(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = re.search(r"!\[.*?\]\((.*?)\)", PAGE)
    assert picture is not None
    path = (ROOT / "hmx" / "guide" / picture[1]).resolve()
    assert path.stat().st_size < 200_000
    drawn: list[Path] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, to, **_: drawn.append(to))
    runpy.run_path(str(ROOT / "data" / "make_zones_picture.py"), run_name="__main__")
    assert drawn == [path]
    ends = re.findall(r"\[ *(\S+) +(\S+)\] (\S+)", capsys.readouterr().out)
    widths = [f"{float(high) - float(low):.3f}" for low, high, _ in ends]
    stated = PAGE.split("## Why pixels")[1].split("\n## ")[0]
    assert len(widths) == 3
    assert all(f"{width} wide" in stated for width in widths)
    shares = [round(100 * float(share)) for _, _, share in ends]
    assert f"{shares[0]} % of the truths instead" in " ".join(stated.split())
    assert shares[1] == 100
    assert f"{shares[2]} % of the truths." in stated
