"""Laws of the registry: one class in one file is a baseline, with all that baselines have."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

import hmx
from hmx.cube.cube import as_cube
from hmx.errors import BadArgument, CatalogError
from hmx.forecast.backtest.backtest import evaluate
from hmx.forecast.backtest.baselines import registry
from hmx.forecast.backtest.baselines.fitting import Baselines, fit_baselines
from hmx.forecast.backtest.baselines.registry import Baseline, baseline, choose, lookup, names
from hmx.forecast.options import BacktestOptions
from hmx.scores import Prediction
from tests.make.cubes import make_cube

FIRST = (
    "persistence", "linear trend", "damped trend", "ridge", "gradient boosting",
    "distance to edge",
)  # fmt: skip
OWN = names()  # and those of files that were added
REACH = 3  # px per lead that the toy looks at


class Diffusion(Baseline):
    """A toy: the state mixes with its neighbours at a rate that is learnt."""

    def __init__(self, past: registry.BaselineSetup):
        super().__init__(past)
        self.sums = np.zeros(2)

    def learn(self, series: Any, learnable: Any) -> None:
        for now, later in pairwise(series):
            pull = mixed(now) - now
            known = learnable & np.isfinite(pull) & np.isfinite(later)
            self.sums += [(pull * (later - now))[known].sum(), (pull**2)[known].sum()]

    def predict(self, history: Any, static: Any) -> Prediction:
        rate = self.sums[0] / self.sums[1] if self.sums[1] else 0.0
        states = [history[-1].astype(float)]
        for _ in range(max(self.past.leads)):
            states.append(states[-1] + rate * (mixed(states[-1]) - states[-1]))
        mean = np.stack([states[lead] for lead in self.past.leads])
        return Prediction(mean.astype(history.dtype), leads=self.past.leads)


def mixed(state: Any) -> Any:
    """Mean of the known pixels of the square around each pixel; missing pixels stay missing."""
    known, size = np.isfinite(state), 2 * REACH + 1
    share = uniform_filter(known.astype(float), size, mode="constant")
    total = uniform_filter(np.where(known, state, 0.0).astype(float), size, mode="constant")
    return np.where(known, total / np.where(known, share, 1.0), np.nan)


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a test registers."""
    names()
    monkeypatch.setattr(registry, "_CLASSES", dict(registry._CLASSES))


@pytest.fixture
def diffusion() -> str:
    baseline("toy diffusion", halo=2 * REACH)(Diffusion)
    return "toy diffusion"


def test_the_baselines_of_hmx_are_found_in_their_order() -> None:
    assert OWN[: len(FIRST)] == FIRST
    assert [lookup(name).large for name in FIRST] == [True, True, True, False, False, True]
    assert choose(None, (2000, 2000))[:3] == FIRST[:3]


def test_a_new_baseline_follows_them_and_can_be_asked_for(diffusion: str) -> None:
    assert names() == (*OWN, diffusion)
    assert choose(None, (100, 100)) == (*OWN, diffusion)
    assert diffusion not in choose(None, (2000, 2000))  # not registered for large grids
    assert choose([diffusion], (2000, 2000)) == ("persistence", diffusion)
    assert BacktestOptions(baselines=diffusion).baselines == (diffusion,)


def test_a_backtest_scores_it_and_tiles_do_not_matter(diffusion: str, tmp_path: Path) -> None:
    ds = make_cube((60, 72), steps=6)
    model = ds.hm.train(
        h=2, until=2005, final=False, static=[], history=2, width=4, trunk=[1], context=[1],
        epochs=1, steps=2, chip=32, out=tmp_path / "model",
    )  # fmt: skip
    whole, tiled = (
        evaluate(
            ds, model, BacktestOptions(h=2, baselines=(diffusion,), precision="float64", tile=tile)
        )
        for tile in (128, 24)
    )
    assert whole.forecasters == ("model", "persistence", diffusion)
    assert f"{diffusion}  " in str(whole)
    assert np.isfinite(whole.value("rmse_skill_vs_toy diffusion", "model", 1))
    for lead in (1, 2):
        one, other = (c.whole[diffusion, lead, "all"].figures() for c in (whole, tiled))
        assert one == pytest.approx(other, rel=1e-10, abs=1e-10, nan_ok=True)
        assert one["rmse"] != whole.value("rmse", "persistence", lead)


def test_each_baseline_answers_with_its_own_numbers(diffusion: str) -> None:
    cube = as_cube(make_cube((40, 44), steps=6))
    fitted = fit_baselines(cube, choose(None, (40, 44)), (1, 2), split=None, seed=0, span=1.0)
    found = fitted.predict(cube.data["hm"].values[-3:])
    assert tuple(found) == (*OWN, diffusion)
    means = [np.nan_to_num(ahead.mean[0]) for ahead in found.values()]
    assert all((a != b).any() for i, a in enumerate(means) for b in means[:i])


@pytest.mark.parametrize("word", ["difusion", "damped", ""])
def test_an_unknown_name_is_refused_everywhere(word: str, diffusion: str) -> None:
    hint = r"not a baseline \(known: persistence, .*, toy diffusion\)"
    cube = as_cube(make_cube((16, 16), steps=4))
    with pytest.raises(BadArgument, match=hint):
        lookup(word)
    with pytest.raises(BadArgument, match=hint):
        choose([word], (10, 10))
    with pytest.raises(BadArgument, match=hint):
        fit_baselines(cube, [word], (1,), split=None, seed=0, span=1.0)
    with pytest.raises(ValueError, match=hint):
        BacktestOptions(baselines=(word,))


def test_a_catalog_names_the_baseline_that_was_meant(tmp_path: Path, diffusion: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("cube: c.zarr\nevaluate: {baselines: [toy difusion]}\n")
    with pytest.raises(CatalogError, match="Did you mean 'toy diffusion'"):
        hmx.Catalog.load(path)


def test_a_forecast_with_gaps_is_refused_by_name() -> None:
    @baseline("holes")
    class Holes(Baseline):
        def predict(self, history: Any, static: Any) -> Prediction:
            mean = np.where(history[-1] > 0.5, np.nan, history[-1])[None]
            return Prediction(mean, leads=(1,))

    past = registry.BaselineSetup((1,), (), 3, 0, 0, 1.0)
    both = Baselines({"holes": Holes(past)})
    with pytest.raises(BadArgument, match=r"baseline 'holes' forecast .*has gaps"):
        both.predict(np.linspace(0, 1, 12).reshape(3, 2, 2))


def test_a_name_that_is_taken_and_a_halo_too_wide_are_refused() -> None:
    with pytest.raises(BadArgument, match=r"baseline 'ridge' of .* is registered by hmx.*ridge"):
        baseline("ridge")(Diffusion)
    with pytest.raises(BadArgument, match=r"halo=300 of the baseline 'wide'.*0 to 120 px"):
        baseline("wide", halo=300)(Diffusion)


@dataclass(frozen=True)
class Point:
    """An entry point of another package."""

    name: str = "toy diffusion"
    value: str = "diffusive:Diffusion"
    dist: Any = None
    error: Exception | None = None
    registers: bool = True

    def load(self) -> None:
        if self.error:
            raise self.error
        if self.registers:
            baseline(self.name)(Diffusion)


def test_a_plug_in_is_loaded_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "offered", lambda group: {"toy diffusion": Point()})
    assert names() == (*OWN, "toy diffusion")
    assert "toy diffusion" not in registry._CLASSES
    assert lookup("toy diffusion") is Diffusion


def test_a_broken_plug_in_is_named_and_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Point(error=ImportError("no module named torch_diffusion"))
    monkeypatch.setattr(registry, "offered", lambda group: {"toy diffusion": broken})
    assert choose(["ridge"], (10, 10)) == ("persistence", "ridge")
    with pytest.raises(BadArgument, match=r"'toy diffusion' comes .*diffusive:Diffusion.*cannot"):
        lookup("toy diffusion")
    monkeypatch.setattr(
        registry, "offered", lambda group: {"toy diffusion": Point(registers=False)}
    )
    with pytest.raises(BadArgument, match=r"diffusive:Diffusion is not registered under"):
        lookup("toy diffusion")
