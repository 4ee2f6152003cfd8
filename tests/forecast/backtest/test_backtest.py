"""Laws of the backtest: only what was not seen is scored, and all of it once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.cube.cube import as_cube
from hmx.errors import BadArgument, CubeError, GridMismatch, NotEnoughData, OutputExists
from hmx.forecast.backtest import backtest as backtests
from hmx.forecast.backtest.backtest import evaluate
from hmx.forecast.backtest.baselines.boosting import Sampler
from hmx.forecast.backtest.baselines.fitting import fit_baselines
from hmx.forecast.backtest.baselines.registry import choose, names
from hmx.forecast.backtest.case import SavedBaselines
from hmx.forecast.backtest.judging import calibrated_knots, levels_of
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.backtest.scoring import InOrder
from hmx.forecast.backtest.skillmap import NAMES as MAPS
from hmx.forecast.backtest.skillmap import SkillMap, make_maps
from hmx.forecast.backtest.strata import by_change, by_distance
from hmx.forecast.options import BacktestOptions
from hmx.forecast.train.rungs import Mixture, Origins
from hmx.progress import Progress
from hmx.scores import Tally
from hmx.uncertainty.calibration import PROBABILITIES, Calibration
from hmx.windows import Span, Window
from tests.make.cubes import make_bundle, make_cube

QUICK: dict[str, Any] = {
    "static": ["elevation"], "history": 2, "width": 4, "trunk": [1], "context": [1, 3],
    "epochs": 2, "steps": 4, "chip": 32,
}  # fmt: skip
RIDGE = ["ridge"]
NAMES = names()
FEW = {"zone_draws": 8}  # each draw of zone totals takes as long as the scores of a tile


def backtest(world: xr.Dataset, h: int = 2, **options: Any) -> Scorecard:
    return backtests.backtest(world, h, **(FEW | options))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """A stored cube of seven steps, 1990 to 2020, in chunks that tiles do not share."""
    path = tmp_path_factory.mktemp("world") / "cube.zarr"
    ds = make_cube((72, 88), steps=7)
    for name, role in (("hm", "target"), ("elevation", "static")):
        ds[name].attrs["hmx_role"] = role
    ds.to_zarr(path, encoding={"hm": {"chunks": (7, 24, 24)}})
    return hmx.open_cube(path)


@pytest.fixture(scope="session")
def early(world: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    """A model that has seen nothing after 2010, and at no step its test blocks."""
    out = tmp_path_factory.mktemp("early") / "model"
    return world.hm.train(h=2, until=2010, test=0.2, block=16, final=False, out=out, **QUICK)


def figures(card: Scorecard) -> dict[Any, dict[str, float]]:
    """All figures of all cells that hold anything."""
    cells = card.whole.cells.items()
    return {key: cell.figures() for key, cell in cells if cell.score.count}


def same(one: Scorecard, other: Scorecard) -> None:
    """Every figure of two scorecards agrees to 1e-9."""
    found, wanted = figures(one), figures(other)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert found[key] == pytest.approx(values, rel=1e-12, abs=1e-9, nan_ok=True), key


def scored(world: xr.Dataset, model: hmx.Bundle, **options: Any) -> Scorecard:
    """In float64: tiles of other sides add up in another order."""
    wanted = BacktestOptions(
        h=2, baselines=RIDGE, precision="float64", **{"zone_draws": 0, **options}
    )
    return evaluate(world, model, wanted)


@pytest.fixture(scope="module")
def card(world: xr.Dataset, early: hmx.Bundle) -> Scorecard:
    return scored(world, early, tile=128)


@pytest.mark.parametrize("tile", [40, 64])
def test_scores_of_tiles_add_up_to_those_of_the_whole(
    world: xr.Dataset, early: hmx.Bundle, card: Scorecard, tile: int
) -> None:
    same(scored(world, early, tile=tile), card)


def test_a_globe_is_scored_across_the_date_line(tmp_path: Path) -> None:
    ds = make_cube((60, 96), steps=5, crs="EPSG:4326", pixel=3.75, corner=(-180, 85), holes=False)
    ds = ds.isel(y=slice(0, 44))
    model = ds.hm.train(h=1, until=2005, out=tmp_path / "model", **QUICK)
    # in float32, tiles of another side add in another order: 1e-7 of a pixel
    exact = BacktestOptions(h=1, baselines=RIDGE, precision="float64")
    one, two = (evaluate(ds, model, exact.model_copy(update={"tile": tile})) for tile in (128, 40))
    same(two, one)
    cell = one.whole["model", 1, "all"].score
    assert cell.count == 44 * 96
    assert cell.weight == pytest.approx(float(ds.hm.grid.cell_areas().sum()) * 96)


def test_processes_give_the_scores_of_one(
    world: xr.Dataset, early: hmx.Bundle, card: Scorecard
) -> None:
    wanted: dict[str, Any] = {"model": early, "baselines": RIDGE}
    apart = backtest(world, 2, workers=2, **wanted)
    here = backtest(world, 2, **wanted)
    assert apart.facts["truth"] == card.facts["truth"]
    assert apart.zones == here.zones
    assert here.whole_zones["region", 2].zones == 1
    same(apart, here)


def test_a_model_is_scored_after_what_it_has_seen(
    world: xr.Dataset, early: hmx.Bundle, card: Scorecard
) -> None:
    valid = int(np.isfinite(world["hm"][0]).sum())
    assert card.facts["origins"] == "2010"
    assert [card.whole["model", lead, "all"].score.count for lead in (1, 2)] == [valid, valid]
    unseen = card.whole["model", 1, "unseen blocks"].score.count
    assert 0 < unseen < valid / 2
    parts = [card.whole["model", 1, s].score.count for s in ("unchanged", "small", "large")]
    assert sum(parts) == valid


def test_leads_without_truth_are_uncalibrated(world: xr.Dataset, early: hmx.Bundle) -> None:
    late = scored(world, early, origins=[2015])
    assert late.uncalibrated == (2,)
    assert "uncalibrated: +10 years" in late.verdict
    assert late.facts["truth"] == "+5 years from 2015; +10 years nowhere"


def test_leads_beyond_those_learnt_are_scored_and_named(
    world: xr.Dataset, early: hmx.Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the distribution that a forecast gives: no interval is narrower there."""
    origin, h = world.isel(time=slice(5)), 4
    card = evaluate(
        world, early, BacktestOptions(h=h, baselines=RIDGE, level=[80], origins=[2000]),
        progress=Progress.console(),
    )  # fmt: skip
    assert card.scored == (3, 4)  # 2005 and 2010 were learnt from
    assert card.facts["extrapolated"] == "leads 3-4 from 2000"
    assert "evaluate: leads 3-4 go beyond the 2 leads" in capsys.readouterr().err
    past = origin.isel(time=slice(3))
    fc = past.hm.forecast(h, model=early, level=80).load()
    truth = world["hm"].isel(time=[5, 6]).values
    for lead in (3, 4):
        cell = card.whole["model", lead, "all"]
        error = (fc["hm"].values[lead - 1] - truth[lead - 3]).astype("float64")
        assert cell.score.rmse == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-4)
        width = (fc["hm_hi_80"] - fc["hm_lo_80"]).values
        assert cell.coverage[80].width == pytest.approx(np.nanmean(width[lead - 1]), rel=1e-3)
        assert np.nanmin(width[lead - 1] - width[1]) >= -1e-6


def test_targets_that_a_model_has_seen_are_never_scored(
    world: xr.Dataset, early: hmx.Bundle
) -> None:
    older = scored(world, early, origins=[2005])
    assert older.scored == (2,)  # 2010 was learnt from, 2015 was not


def test_a_model_trained_on_everything_is_refused(world: xr.Dataset, early: hmx.Bundle) -> None:
    fit = {**early.training["fit"], "until": None, "final": True}
    steps = ["1990-01-01", "2020-01-01", 7]
    greedy = replace(early, training={**early.training, "fit": fit, "steps": steps, "roles": None})
    with pytest.raises(BadArgument, match=r"holds nothing out.*final=True.*until='2015'"):
        scored(world, greedy)
    unknown = replace(early, training={})
    with pytest.raises(BadArgument, match="does not record which steps"):
        scored(world, unknown)


def test_a_model_with_test_blocks_alone_is_scored_on_them(
    world: xr.Dataset, early: hmx.Bundle
) -> None:
    fit = {**early.training["fit"], "until": None}
    steps = ["1990-01-01", "2020-01-01", 7]
    other = replace(early, training={**early.training, "fit": fit, "steps": steps})
    found = scored(world, other)
    assert found.facts["scored"] == "the test blocks of the model"
    assert found.facts["origins"] == "2010, 2015"
    once = found.whole["model", 2, "all"].score.count
    assert found.whole["model", 1, "all"].score.count == 2 * once
    valid = int(np.isfinite(world["hm"][0]).sum())
    assert 0 < once < valid / 2


def test_what_comes_later_changes_scores_but_no_model_and_no_forecast() -> None:
    ds = make_cube((48, 56), steps=6)
    other = ds.copy(deep=True)
    known = np.isfinite(ds["hm"].values[0])
    for step, seed in ((4, 1), (5, 2)):
        values = ds["hm"].values[step][known]
        other["hm"].values[step][known] = np.random.default_rng(seed).permutation(values)
    how: dict[str, Any] = {"origins": 2005, "baselines": NAMES[:4], **QUICK}
    one, two = (backtest(cube, 2, **how) for cube in (ds, other))
    assert one.facts["models"] == two.facts["models"]
    assert one.value("rmse", "model", 1) != pytest.approx(two.value("rmse", "model", 1), rel=0.1)
    for lead in (1, 2):
        for name in one.forecasters:
            if name == "ridge" and lead == 2:  # four steps hold no such target after a history
                continue
            means = [  # of the forecasts: the truth drops out of a difference of biases
                c.value("bias", name, lead) - c.value("bias", "persistence", lead)
                for c in (one, two)
            ]
            assert means[0] == pytest.approx(means[1], abs=1e-12)
        assert one.value("width_80", "model", lead) == pytest.approx(
            two.value("width_80", "model", lead), abs=1e-12
        )


def test_on_pure_noise_the_verdict_says_persistence() -> None:
    """Jumps that come anywhere, at any time, either way: nothing can be said of them."""
    rng = np.random.default_rng(3)
    ds = make_cube((64, 64), steps=6, static=(), holes=False)
    jumps = rng.choice([-0.1, 0.0, 0.1], (6, 64, 64), p=[0.002, 0.996, 0.002])
    ds["hm"].values[:] = np.clip(0.5 + jumps.cumsum(axis=0), 0, 1)
    found = backtest(ds, 1, baselines=RIDGE, **{**QUICK, "static": []})
    assert found.verdict.startswith("USE PERSISTENCE, NOT THE MODEL")


def test_a_stopped_backtest_goes_on_and_a_finished_one_is_reused(
    world: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, judged = [], []
    train, score = backtests.train, backtests.score_round
    monkeypatch.setattr(backtests, "train", lambda *a, **k: (fitted.append(1), train(*a, **k))[1])

    def stops(pool: Any, case: Any, work: Any, round_: Any, progress: Any) -> Tally:
        if stop and judged:
            raise KeyboardInterrupt
        judged.append(round_.label)
        return score(pool, case, work, round_, progress)

    monkeypatch.setattr(backtests, "score_round", stops)
    how: dict[str, Any] = {"baselines": RIDGE, "out": tmp_path / "scores", "final": False, **QUICK}
    stop = True
    with pytest.raises(KeyboardInterrupt):
        backtest(world, 2, **how)
    assert (len(fitted), judged) == (2, ["from 2010"])
    stop = False
    done = backtest(world, 2, **how)
    assert (len(fitted), judged) == (2, ["from 2010", "from 2015"])
    again = backtest(world, 2, **how)
    assert (len(fitted), len(judged)) == (2, 2)
    assert again.as_dict() == done.as_dict()
    assert {p.name for p in (tmp_path / "scores").glob("*.*")} >= {
        "scorecard.json", "scores.csv", "skill.zarr", "skill.png"
    }  # fmt: skip
    backtest(world, 2, **{**how, "level": 80})  # another question: scored anew, not fitted
    assert (len(fitted), len(judged)) == (2, 4)


def test_a_place_that_holds_something_else_is_left_alone(
    world: xr.Dataset, early: hmx.Bundle, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputExists, match="not a scorecard"):
        backtest(world, 2, model=early, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(BadArgument, match="is a URL"):
        backtest(world, 2, model=early, out="s3://bucket/scores")


def test_folds_score_every_pixel_once(world: xr.Dataset) -> None:
    found = backtest(world, 1, origins=2015, folds=2, baselines=["persistence"], block=24,
                     buffer=4, final=False, **QUICK)  # fmt: skip
    assert list(found.tallies) == ["fold 1, from 2015", "fold 2, from 2015"]
    counts = [t["model", 1, "all"].score.count for t in found.tallies.values()]
    assert sum(counts) == int(np.isfinite(world["hm"][-2:]).all("time").sum())
    assert min(counts) > 0
    assert len(found.facts["models"].split(", ")) == 2


def test_maps_hold_the_errors_that_are_scored(
    world: xr.Dataset, early: hmx.Bundle, card: Scorecard, tmp_path: Path
) -> None:
    backtest(world, 2, model=early, baselines=RIDGE, out=tmp_path / "a")
    maps = hmx.open_cube(tmp_path / "a" / "skill.zarr")
    assert maps.attrs["hmx_status"] == "complete"
    assert maps.rio.crs == world.rio.crs
    for lead in (1, 2):
        at = maps.sel(lead=lead).isel(time=0)
        for name, metric, who in (
            ("abs_error", "mae", "model"),
            ("crps", "crps", "model"),
            ("abs_error_persistence", "mae", "persistence"),
        ):
            mean = float(at[name].mean())  # pixels of a projected grid are of one area
            assert mean == pytest.approx(card.value(metric, who, lead), rel=1e-5)
        # area-weighted means of a gain and of its reference give the pooled skill
        pooled = float(at["gain"].mean() / at["abs_error_persistence"].mean())
        assert pooled == pytest.approx(card.value("crps_skill", "model", lead), abs=1e-5)
        moved = at["abs_error_persistence"] > 0
        np.testing.assert_array_equal(np.isfinite(at["skill"]), moved)
        expected = at["gain"] / at["abs_error_persistence"].where(moved)
        np.testing.assert_allclose(at["skill"].where(moved), expected, rtol=1e-4, atol=1e-7)
    truth = np.abs(world["hm"].isel(time=5) - world["hm"].isel(time=4))
    still = maps["abs_error_persistence"].sel(lead=1).isel(time=0)
    np.testing.assert_allclose(still.values, truth.values, atol=1e-7)


def test_a_model_with_fewer_leads_writes_to_maps_that_have_more(
    world: xr.Dataset, tmp_path: Path
) -> None:
    path, cube = str(tmp_path / "skill.zarr"), as_cube(world)
    make_maps(path, cube, [4, 5], h=3, facts={})
    rows, columns = cube.grid.shape
    layers = {name: np.ones((2, rows, columns), "float32") for name in MAPS}
    SkillMap(path, 1).write(layers, Window(Span(0, rows), Span(0, columns)), ())
    written = np.isfinite(xr.open_zarr(path, consolidated=False)["crps"].values).all((-2, -1))
    assert written.tolist() == [[False, True], [False, True], [False, False]]  # lead, origin


def test_maps_lie_as_the_cube_of_their_owner(
    world: xr.Dataset, early: hmx.Bundle, tmp_path: Path
) -> None:
    turned = world.compute().isel(y=slice(None, None, -1)).rename(y="northing")
    turned["northing"].attrs["axis"] = "Y"
    backtest(turned, 2, model=early, baselines=["persistence"], out=tmp_path / "b")
    maps = hmx.open_cube(tmp_path / "b" / "skill.zarr")
    still = maps["abs_error_persistence"].sel(lead=1).isel(time=0)
    truth = np.abs(turned["hm"].isel(time=5) - turned["hm"].isel(time=4))
    assert still.dims == truth.dims == ("northing", "x")
    np.testing.assert_allclose(still.values, truth.values, atol=1e-7)


def corner(world: xr.Dataset) -> dict[str, Any]:
    """GeoJSON of the western half of a cube, and of nothing in it."""
    from rasterio.warp import transform_geom

    west, south, east, north = world.rio.bounds()
    middle = (west + east) / 2
    ring = [[west, south], [middle, south], [middle, north], [west, north], [west, south]]
    shape = transform_geom(world.rio.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})
    far = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    features = [
        {"type": "Feature", "geometry": shape, "properties": {"name": "west"}},
        {"type": "Feature", "geometry": far, "properties": {"name": "far away"}},
    ]
    return {"type": "FeatureCollection", "features": features}


def test_zones_are_strata(world: xr.Dataset, early: hmx.Bundle, tmp_path: Path) -> None:
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps(corner(world)), encoding="utf-8")
    valid = np.isfinite(world["hm"][-1].values)
    how: dict[str, Any] = {"model": early, "baselines": ["persistence"]}
    by_shape = backtest(world, 1, zones=path, **how)
    west = by_shape.whole["model", 1, "zone:west"].score.count
    assert west == pytest.approx(int(valid[:, :44].sum()), abs=72)
    assert "zone:far away" not in by_shape.strata
    classes = np.where(np.arange(88) < 44, 1, 2) * np.ones((72, 1), int)
    by_value = backtest(world, 1, zones=classes, **how)
    counts = [by_value.whole["model", 1, f"zone:{n}"].score.count for n in (1, 2)]
    assert counts == [int(valid[:, :44].sum()), int(valid[:, 44:].sum())]
    with pytest.raises(GridMismatch, match="an array of zones lies on"):
        backtest(world, 1, zones=classes[:5], **how)


def test_what_cannot_be_asked_is_told(world: xr.Dataset, early: hmx.Bundle) -> None:
    with pytest.raises(BadArgument, match=r"'ridgge' is not a baseline.*Did you mean 'ridge'"):
        backtest(world, model=early, baselines=["ridgge"])
    with pytest.raises(BadArgument, match="epochs= decides how a model is trained"):
        backtest(world, model=early, epochs=3)
    with pytest.raises(BadArgument, match=r"folds=2 with model="):
        backtest(world, model=early, folds=2)
    with pytest.raises(BadArgument, match=r"origins=2020 is the last step"):
        backtest(world, model=early, origins=2020)
    with pytest.raises(BadArgument, match=r"origins=2007 is not on the time axis"):
        backtest(world, model=early, origins=2007)
    with pytest.raises(BadArgument, match=r"but before it\. Pass .* e\.g\. origins='2015"):
        backtest(world, model=early, origins=1234)
    with pytest.raises(NotEnoughData, match="none of the 1 leads has a truth"):
        backtest(world, 1, model=early, origins=2000)
    with pytest.raises(CubeError, match="Write it first"):
        backtest(world.compute() + 0, model=early, workers=2)


def test_an_unsaved_cube_is_scored_in_this_process(world: xr.Dataset, early: hmx.Bundle) -> None:
    stored, found = (
        ds.hm.backtest(2, model=early, baselines=RIDGE, **FEW) for ds in (world, world.compute())
    )
    assert found.whole.as_dict() == stored.whole.as_dict()


def test_strata_are_of_distance_and_of_change() -> None:
    history = np.zeros((3, 1, 80))
    history[2, 0, 0] = 0.5
    found = by_distance(history)
    assert [int(mask.sum()) for mask in found.values()] == [4, 26, 50]
    sizes = by_change(np.array([[0.2, 0.24, 0.3, np.nan]]), np.full((1, 4), 0.2), 1.0)
    assert [mask[0].tolist().index(True) for mask in sizes.values()] == [0, 1, 2]
    assert not any(mask[0, 3] for mask in sizes.values())


def test_dense_levels_are_calibrated_and_keep_ties_exact() -> None:
    ds = make_cube((16, 16), steps=3)
    bundle = make_bundle(ds)
    steep = np.stack([PROBABILITIES**0.9, PROBABILITIES**1.1])
    calibration = Calibration((steep,), (np.full(2, 500.0),), (0.0, 30.0), (0.01,))
    bundle = replace(bundle, calibration=calibration)
    own = bundle.spec.network.knots
    rng = np.random.default_rng(0)
    origin = rng.random((9, 9)).astype("float32")
    offsets = np.array([0.05 * max(0, p - 0.6) for p in own], "float32")
    knots = np.clip(origin + offsets[:, None, None], 0, 1)
    distance = rng.uniform(0, 30, (9, 9)).astype("float32")
    values, levels = calibrated_knots(
        bundle, knots, origin, distance, lead=1, levels=levels_of([80]), span=1.0
    )
    assert {0.1, 0.9} <= {*levels}
    assert (np.diff(values, axis=0) >= 0).all()
    wanted = calibration.quantile(knots, own, distance, lead=1, probability=0.9)
    np.testing.assert_allclose(values[levels.index(0.9)], np.clip(wanted, 0, 1), atol=2e-6)
    assert (values[levels.index(0.3)] == origin).all()


def test_a_sample_of_pixels_is_unbiased_and_bounded() -> None:
    rng = np.random.default_rng(0)
    sampler = Sampler((1,), seed=0, kept=500)
    total = 0
    for _ in range(6):
        change = np.where(rng.random((40, 50)) < 0.1, rng.random((40, 50)), 0.0)
        sampler.add(np.stack([change]), change[None])
        total += int((change != 0).sum())
    _, y, weight = sampler.sample(1) or pytest.fail("nothing was drawn")
    assert (len(y), int((y != 0).sum())) == (1000, 500)
    assert weight[y != 0].sum() == pytest.approx(total)
    assert weight.sum() == pytest.approx(6 * 2000)


def test_boosting_forecasts_a_distribution() -> None:
    from hmx.cube.cube import as_cube

    cube = as_cube(make_cube((40, 50), steps=5))
    past = replace(cube, data=cube.data.isel(time=slice(0, 4)))
    fitted = fit_baselines(past, NAMES, (1, 2), split=None, seed=0, span=1.0)
    found = fitted.predict(past.data["hm"].values[-3:])
    assert found["ridge"].leads == (1,)  # four steps: no target of lead 2 after a history of 3
    ahead = found["gradient boosting"]
    assert ahead.knots is not None
    assert ahead.leads == (1,)
    known = np.isfinite(past.data["hm"].values[-1])
    assert (np.isfinite(ahead.mean[0]) == known).all()
    assert (np.diff(ahead.knots[0][:, known], axis=0) >= 0).all()
    truth, still = cube.data["hm"].values[4], past.data["hm"].values[-1]
    error = np.nanmean((ahead.mean[0] - truth) ** 2)
    assert error < 0.5 * np.nanmean((still - truth) ** 2)


def test_baselines_that_were_changed_on_disk_are_not_loaded(tmp_path: Path) -> None:
    from hmx.cube.cube import as_cube
    from hmx.errors import JobFailed

    cube = as_cube(make_cube((16, 16), steps=4))
    fitted = fit_baselines(cube, choose([], (16, 16)), (1,), split=None, seed=0, span=1.0)
    saved = SavedBaselines.save(fitted, tmp_path / "b.bin")
    (tmp_path / "b.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(JobFailed, match="has changed since"):
        saved.load()


def test_all_baselines_are_the_default_of_small_grids_alone() -> None:
    assert choose(None, (1999, 2000)) == NAMES
    large = ("persistence", "linear trend", "damped trend", "distance to edge")
    assert choose(None, (2000, 2000)) == large
    assert choose(["ridge"], (9000, 9000)) == ("persistence", "ridge")


def test_sums_come_in_one_order_whatever_comes_first(card: Scorecard) -> None:
    places = [(0, n) for n in range(4)]
    rng = np.random.default_rng(0)
    parts = {}
    for place in places:
        cells = {k: c + c for k, c in card.whole.cells.items() if rng.random() < 0.7}
        parts[place] = Tally(cells)
    one, two = InOrder(places, Tally()), InOrder(places, Tally())
    for place in places:
        one.add(place, parts[place])
    for place in reversed(places):
        two.add(place, parts[place])
    assert one.total.as_dict() == two.total.as_dict()


def test_what_past_steps_taught_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ds = make_cube((64, 64), steps=6)
    how: dict[str, Any] = {"h": 1, "origins": [2010], "baselines": RIDGE, **QUICK, **FEW}
    card = ds.hm.backtest(out=tmp_path / "scores", **how)
    assert card.facts["means"].startswith("from 2010: expected changes are ")
    assert card.facts["means held at the last map"] == "never"
    monkeypatch.setattr(Origins, "mixture", lambda origins: Mixture(0.0, 0.0, (0.1, -0.2), 0.0))
    card = ds.hm.backtest(out=tmp_path / "held", **how)
    assert card.facts["means held at the last map"] == "from 2010"
    want = "from 2010: HELD AT THE LAST MAP: the fit to all other past steps gained at 1 of 2"
    assert card.facts["means"] == want
    text = str(card)
    assert "Total change from the last map" in text
