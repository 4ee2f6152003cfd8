"""Laws of ``ds.soc.select``: what is chosen, what it costs, and how far its score is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hmx.errors import BadArgument, OutputExists
from hmx.mapping.inputs import restricted
from hmx.mapping.select.api import select
from hmx.mapping.select.selection import Selection
from hmx.mapping.train.recipe import MapTrainSetup, prepare
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from hmx.progress import Progress
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import TINY, TINY_SPLIT, UTM, make_points

OPTIONS: dict[str, Any] = {"crs": UTM, "window": 3, "split": TINY_SPLIT, "inner": 2}


@pytest.fixture(scope="module")
def samples(land: xr.Dataset) -> pd.DataFrame:
    return make_points(land, 150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("selection") / "out"


@pytest.fixture(scope="module")
def found(land: xr.Dataset, samples: pd.DataFrame, folder: Path) -> Selection:
    """A selection of a land whose soils follow lst and elevation."""
    return select(land, samples, out=folder, **OPTIONS)


def test_what_matters_is_chosen_and_noise_is_left_out(found: Selection) -> None:
    assert found.covariates == ("lst", "elevation")
    assert found.keywords == {"dynamic": ["lst"], "static": ["elevation"]}
    assert found.lines == "train:\n  covariates: [lst, elevation]"
    assert set(found.importance.bands[:2]) == {"lst", "elevation"}
    assert found.r2(found.chosen) >= found.r2(found.everything) > 0.5
    assert found.verdict.startswith("2 of 4 covariates: lst and elevation. R2 0.")
    assert "optimistic" in found.caution


def test_the_r2_is_that_of_all_held_out_samples(
    land: xr.Dataset, samples: pd.DataFrame, found: Selection
) -> None:
    from hmx.mapping.api import evaluate

    options = {**TINY, "runs": 1, "epochs": 1, "blend": 0.0, "inner": 2}
    card = evaluate(land[["lst", "elevation"]], samples, crs=UTM, beside=[], **options)
    assert found.folds == card.main
    assert found.scale == card.scale
    # another number of trees, so nearly
    assert found.r2(found.chosen) == pytest.approx(card.value("r2", "forest"), abs=0.03)
    assert found.variance == pytest.approx(card.truth.var())


def test_it_shows_itself_in_short_and_is_written_beside(found: Selection, folder: Path) -> None:
    assert len(repr(found)) < 300
    assert "lst, elevation" in repr(found)
    assert "<table>" in found._repr_html_()
    text = (folder / "selection.txt").read_text()
    assert text == f"{found}\n"
    assert "Importance: loss of R2" in text
    assert found.lines in text
    table = pd.read_csv(folder / "selection.csv")
    assert len(table) == len(found.tried)
    assert table.loc[table["chosen"], "covariates"].tolist() == ["lst + elevation"]
    assert table["r2"].max() == pytest.approx(found.r2(found.best))
    assert (folder / "selection.png").read_bytes()[:4] == b"\x89PNG"
    assert set(pd.read_csv(folder / "importance.csv")["covariate"]) == {*found.importance.mean}


class _Stop:
    """Press Ctrl-C at the n-th fit; collect what is reported."""

    def __init__(self, at: int = 10**9):
        self.at, self.notes, self.steps = at, [], []

    @property
    def progress(self) -> Progress:
        return Progress(self.notes.append, self.step)

    def step(self, done: int, total: int, text: str) -> None:
        self.steps.append((done, total, text))
        if len(self.steps) == self.at:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_reports_its_best_and_goes_on_to_the_same_end(
    land: xr.Dataset, samples: pd.DataFrame, found: Selection, folder: Path, tmp_path: Path
) -> None:
    first, second, third = _Stop(11), _Stop(), _Stop()
    with pytest.raises(KeyboardInterrupt):
        select(land, samples, out=tmp_path / "s", progress=first.progress, **OPTIONS)
    assert first.notes[-1].startswith("select: stopped after 3 sets; the best so far: lst, ")
    select(land, samples, out=tmp_path / "s", progress=second.progress, **OPTIONS)
    fits = sum(" + " in text or "importance" in text for *_, text in second.steps)
    assert fits == 3 * (len(found.tried) - 3) + 3  # of 3 folds, and the importance
    assert second.steps[-1][0] == second.steps[-1][1]
    for name in ("selection.json", "selection.csv", "selection.txt", "importance.csv"):
        assert (tmp_path / "s" / name).read_bytes() == (folder / name).read_bytes()
    again = select(land, samples, out=tmp_path / "s", progress=third.progress, **OPTIONS)
    assert third.notes[-1].endswith("exists and is current")
    assert str(again) == str(found)


def test_the_cost_is_reported_before_it_is_paid(land: xr.Dataset, samples: pd.DataFrame) -> None:
    seen = _Stop(4)
    with pytest.raises(KeyboardInterrupt):
        select(land, samples, progress=seen.progress, **OPTIONS)
    announced = next(note for note in seen.notes if "at most" in note)
    # six pairs, two and one with a third and a fourth, and all four; the importance
    assert "at most 10 sets, 33 fits (forest). Ctrl-C prints the best" in announced
    assert any("so what is left takes at most about" in note for note in seen.notes)
    assert [total for _, total, _ in seen.steps] == [33] * 4


def test_on_noise_the_chosen_set_looks_better_than_it_is_and_nesting_shows_it() -> None:
    ds = make_covariates((32, 36), holes=False)
    draw = np.random.default_rng(3)
    noise = {f"n{at}": (("y", "x"), draw.normal(size=(32, 36))) for at in range(5)}
    points = make_points(ds, 60).drop(columns="year")
    points["soc"] = np.exp(draw.normal(size=60))
    options = {**OPTIONS, "split": "random", "learner": "linear", "rule": "best"}
    found = select(ds.drop_vars([*ds.data_vars]).assign(noise), points, nested=True, **options)
    assert found.honest is not None
    assert found.nested is not None
    assert found.r2(found.honest) < found.r2(found.best)
    assert found.r2(found.honest) < 0.05
    assert len(found.nested.chosen) == len(found.sizes) == 10
    assert "Nested: selected anew" in found.caution
    assert "Nested: folds whose own selection chose it" in str(found)


def test_networks_can_be_the_learner(land: xr.Dataset, samples: pd.DataFrame) -> None:
    options = {**TINY, "runs": 1, "epochs": 1, "split": {**TINY_SPLIT, "folds": 2}}
    two = land[["lst", "elevation"]]
    found = select(two, samples, crs=UTM, learner="network", **options)
    assert [trial.covariates for trial in found.tried] == [("lst", "elevation")]
    assert found.keeps_all
    assert "covariates:" not in str(found).partition("In the catalog")[2]


def test_the_channels_of_some_covariates_are_those_of_a_cube_of_them(land: xr.Dataset) -> None:
    draw = np.random.default_rng(0)
    codes = np.kron(draw.choice([3, 11, 512], (8, 9)), np.ones((4, 4))).astype("int16")
    monthly = xr.DataArray(draw.normal(size=(3, 32, 36)), dims=("band", "y", "x"))
    ds = land.fillna(0).assign(cover=(("y", "x"), codes), s2=monthly)
    points = make_points(land, 60).drop(columns="year").assign(upper=0, lower=10)
    columns = PointsOptions(crs=UTM, top="upper", bottom="lower")
    network = MapperOptions(window=3, coarse=(2,))

    def prepared(**bands: Any) -> Any:
        return prepare(ds, points, MapTrainSetup(columns, network, categories=("cover",), **bands))

    whole = prepared()
    for dynamic, static in ((("rain",), ("cover", "s2")), ((), ("twi", "s2")), (("lst",), ())):
        # without the series all steps of a cube are one, so windows of series are compared alone
        categories = ("cover",) if "cover" in static else ()
        setup = MapTrainSetup(
            columns, network, categories=categories, dynamic=dynamic, static=static
        )
        own = prepare(ds, points, setup)
        raw, spec = restricted(whole.raw, whole.spec, {*dynamic, *static})
        np.testing.assert_array_equal(raw.static, own.raw.static)
        assert spec.features == own.spec.features or not dynamic
        assert (spec.dynamic, spec.static) == (own.spec.dynamic, own.spec.static)
        assert spec.categories == own.spec.categories
        if dynamic:
            np.testing.assert_array_equal(raw.dynamic, own.raw.dynamic)


def test_folders_and_cubes_that_cannot_be_are_refused(
    land: xr.Dataset, samples: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(BadArgument, match=r"the cube has one covariate \(twi\), and a selection"):
        select(land[["twi"]], samples, **OPTIONS)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match="not a selection, so it is left alone"):
        select(land, samples, out=tmp_path, **OPTIONS)
    with pytest.raises(BadArgument, match="learner='forrest'"):
        select(land, samples, learner="forrest", **OPTIONS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.dumps([*tmp_path.iterdir()], default=str).count("selection") == 0
