"""Laws of displays: in an executed notebook, pictures are pictures and reports are short."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.files.shown import Shown
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.points.table import read_points
from hmx.scores.cell import Cell
from hmx.scores.tally import Tally
from hmx.splits.blocks import CALIBRATION, Folds
from tests.make.soilworlds import UTM, make_points

CELLS = {
    "model": "hmx.load({trained!r})",
    "mapper": "hmx.load({mapper!r})",
    "forecast": "fc = ds.hm.forecast(h=2, model={trained!r}, level=80).load()\n"
    "fc.hm.plot_forecast(ds)",
    "plan": "ds.hm.plan(h=2, model={trained!r}, tile=64, chunk=64)",
    "export": "fc.hm.to_cog('maps', variable='hm', stac=False)",
    "scorecard": "from tests.test_notebook import make_card\nmake_card()",
    "folds": "from tests.test_notebook import make_folds\nmake_folds()",
}
RUN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import nbformat
from nbclient import NotebookClient
cells = json.load(sys.stdin)
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
NotebookClient(book, timeout=120, kernel_name="python3").execute()
print(json.dumps([cell.outputs for cell in book.cells]))
"""


def make_card() -> Scorecard:
    """A scorecard with many leads and strata."""
    truth = np.linspace(0, 1, 50)
    tally = {}
    for lead in range(1, 9):
        for stratum in ("all", "near", "far"):
            for name, error in (("persistence", 0.2), ("model", 0.1), ("trend", 0.3)):
                cell = Cell.of([truth], [truth * 0], [truth + error * lead])
                tally[(name, lead, stratum)] = cell
    return Scorecard({f"from {year}": Tally(tally) for year in range(2000, 2010)})


def make_folds() -> Folds:
    """Folds of a large raster."""
    counts = np.ones((60, 80))
    shares = {CALIBRATION: 0.1}
    return Folds.deal(counts, (6000, 8000), k=5, block=100, shares=shares, seed=0)


@pytest.fixture(scope="module")
def outputs(
    cube: xr.Dataset,
    trained: hmx.Bundle,
    trained_mapper: hmx.MapBundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[dict[str, object]]]:
    """What each cell of an executed notebook gives."""
    for library in ("nbclient", "ipykernel"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    folder = tmp_path_factory.mktemp("notebook")
    cube.to_zarr(folder / "cube.zarr", zarr_format=3, consolidated=False)
    root = Path(__file__).resolve().parents[1]
    first = f"import sys\nsys.path.insert(0, {str(root)!r})\n"
    first += "import hmx\nds = hmx.open_cube('cube.zarr')"
    names = {"trained": str(trained.path), "mapper": str(trained_mapper.path)}
    cells = [first, *(code.format(**names) for code in CELLS.values())]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(("first", *CELLS), found, strict=True))


def shown(cell: list[dict[str, object]]) -> dict[str, str]:
    """Return what a cell displays, by MIME type."""
    results = [part for part in cell if part["output_type"] == "execute_result"]
    assert len(results) == 1
    return results[0]["data"]  # type: ignore[return-value]


def test_a_figure_is_shown_as_a_picture(outputs: dict[str, list[dict[str, object]]]) -> None:
    assert len(shown(outputs["forecast"])["image/png"]) > 20_000


@pytest.mark.parametrize("name", ["model", "mapper", "plan", "scorecard", "folds"])
def test_a_report_is_a_short_table(outputs: dict[str, list[dict[str, object]]], name: str) -> None:
    data = shown(outputs[name])
    assert len(data["text/plain"]) < 700
    assert data["text/html"].startswith("<div><b>")
    words = {"model": "hm x 2 steps", "mapper": "soc in g/kg", "plan": "96 rows x 112 columns",
             "scorecard": "Use the model", "folds": "6,000 x 8,000 px"}  # fmt: skip
    assert words[name] in data["text/html"]
    assert len(data["text/html"]) < (90_000 if name == "scorecard" else 3_000)


def test_a_scorecard_shows_its_plot_and_the_pooled_figures(
    outputs: dict[str, list[dict[str, object]]],
) -> None:
    html = shown(outputs["scorecard"])["text/html"]
    assert "data:image/png;base64," in html
    assert html.count("<tr>") == 3 + 1 + 24  # facts, names, three forecasters at eight leads
    assert "near" not in html.split("<img")[0].split("<table>", 2)[2]


def test_progress_is_a_bar_in_a_notebook_without_warnings(
    outputs: dict[str, list[dict[str, object]]],
) -> None:
    texts = [str(part.get("text", "")) for part in outputs["export"]]
    widgets = any("widget-view" in str(part.get("data", "")) for part in outputs["export"])
    assert widgets or any("100%" in text for text in texts)
    assert not any("Warning" in text for text in texts)


def test_samples_and_folds_of_sites_are_short_too(land: xr.Dataset) -> None:
    points = read_points(make_points(land), target="soc", crs=UTM)
    assert repr(points).startswith("Points(table ")
    assert len(repr(points)) < 300
    for kind in (type(points), Folds):
        assert issubclass(kind, Shown)
        assert kind.__repr__ is Shown.__repr__


def test_what_html_would_read_as_markup_is_text() -> None:
    class Fact(Shown):
        def shown(self) -> dict[str, str]:
            return {"a<b": "<script>" + "x" * 1000}

    html = Fact()._repr_html_()
    assert "<script>" not in html
    assert "a&lt;b" in html
    assert len(html) < 800
    assert len(repr(Fact())) <= 300
