"""Laws of the dependence that training fits: the forecasts it rests on, and its bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.bundles.folder import DESCRIPTION
from hmx.cube.cube import as_cube
from hmx.errors import BundleError
from hmx.forecast.bundle import Bundle
from hmx.forecast.joint import dependence_of, describe_dependence
from hmx.forecast.train import joint
from hmx.forecast.train.data import Reader
from hmx.forecast.train.joint import forecast, gather, windows_of, with_dependence
from hmx.networks.forecaster import Forecaster
from hmx.progress import Progress
from hmx.splits import TEST, TRAIN
from hmx.uncertainty.calibration import Calibration
from hmx.uncertainty.joint.dependence import LEVELS, PRIOR_WEIGHTS
from hmx.windows import Span, Window
from tests.forecast.train.test_data import reader_of
from tests.make.cubes import fill, make_calibration, make_cube

SHAPE = (60, 72)


def model_of(reader: Reader, *, members: int = 1, **changes: Any) -> Bundle:
    """A calibrated model with random weights for the cube of a reader."""
    spec = replace(reader.spec, members=members)
    weights = {}
    for member in range(members):
        network = fill(Forecaster.of(spec, reader.scaler), "random")
        prefix = f"{member}." if members > 1 else ""
        weights |= {prefix + n: t.numpy().copy() for n, t in network.state_dict().items()}
    calibration = replace(make_calibration(spec), shift=(0.2, 0.4), far=0.5)
    given = {"calibration": calibration, **changes}
    steps = {"steps": ["", "", reader.cube.data.sizes["time"]]}
    return Bundle(spec=spec, scaler=reader.scaler, weights=weights, training=steps, **given)


def networks_of(model: Bundle) -> list[Forecaster]:
    return [Forecaster.load(model, member) for member in range(model.spec.members)]


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return make_cube(SHAPE, steps=5)


@pytest.fixture(scope="module")
def reader(ds: xr.Dataset) -> Reader:
    return reader_of(ds, h=2, chip=32, buffer=0)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("around", [False, True])
def test_past_origins_are_forecast_as_inference_does(around: bool, members: int) -> None:
    """A window equals that of a forecast of the series until then, also over the date line."""
    globe = {"crs": "EPSG:4326", "pixel": 5.0, "corner": (-180.0, 80.0)}
    ds = make_cube((30, 72), steps=5, **(globe if around else {}))
    reader = reader_of(ds, h=2, chip=24, buffer=0)
    model = model_of(reader, members=members)
    assert reader.cube.grid.wraps == around
    for origin, h in ((2, 2), (3, 1)):
        until = ds.isel(time=slice(origin + 1))
        whole = until.hm.forecast(h=h, model=model, quantiles=list(LEVELS))["hm_quantile"]
        whole = whole.transpose("quantile", "time", "y", "x").values
        for core in (Window(Span(0, 20), Span(0, 20)), Window(Span(10, 30), Span(50, 72))):
            found, truth, known = forecast(
                model, networks_of(model), reader, core, origin=origin, h=h
            )  # fmt: skip
            expected = whole[(..., *core.slices)]
            assert known.any()
            np.testing.assert_allclose(
                found[..., known], expected[..., known], atol=2e-6
            )  # fmt: skip
            came = ds["hm"].values[(slice(origin + 1, origin + 1 + h), *core.slices)]
            np.testing.assert_array_equal(truth, came)
            assert np.isfinite(ds["hm"].values[origin][core.slices][known]).all()


def test_windows_contain_each_training_pixel_once(reader: Reader) -> None:
    seen = np.zeros(SHAPE, int)
    for window in windows_of(reader, seed=0, side=20):
        seen[window.slices] += 1
    np.testing.assert_array_equal(seen, 1)
    assert [window.shape for window in windows_of(reader, seed=0)] == [SHAPE]


def test_a_large_cube_is_sampled(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampled(most: int, in_all: int, seed: int) -> list[Window]:
        monkeypatch.setattr(joint, "_MOST", most)
        monkeypatch.setattr(joint, "_MOST_IN_ALL", in_all)
        return windows_of(reader, seed=seed, side=20)

    found = sampled(1500, 10**9, 0)
    assert found == sorted(found) == sampled(1500, 10**9, 0)
    assert 0 < sum(w.shape[0] * w.shape[1] for w in found) <= 1500
    assert found != sampled(1500, 10**9, 1)
    assert len(sampled(10**9, 800 * len(reader.origins), 0)) == 2
    assert len(sampled(1, 1, 0)) == 1  # never none


def test_every_lead_has_its_origins_and_windows_add_up(reader: Reader) -> None:
    model = model_of(reader)
    steps: list[tuple[int, int]] = []
    progress = Progress(on_step=lambda done, total, text: steps.append((done, total)))
    whole, parts = (
        gather(model, networks_of(model), reader, seed=0, progress=progress, side=side)
        for side in (80, 40)
    )
    assert {lead: [*origins] for lead, origins in whole.sums.items()} == {1: [1, 2, 3], 2: [1, 2]}
    assert steps[2] == (3, 3)
    for lead, origins in whole.sums.items():
        for origin, sums in origins.items():
            other = parts.sums[lead][origin]
            assert sums.truth == pytest.approx(other.truth)
            assert sums.shift == pytest.approx(other.shift, abs=1e-4)
            assert sums.blocks[20].squares == pytest.approx(other.blocks[20].squares, rel=1e-4)


def test_blocks_of_the_test_are_not_looked_at(ds: xr.Dataset) -> None:
    reader = reader_of(ds, h=1, chip=32, block=16, test=0.3, buffer=0)
    table = reader.split.table
    assert (table == TEST).any()
    model = model_of(reader)
    fit = gather(model, networks_of(model), reader, seed=0, progress=Progress())
    role, known = reader.split.roles(Window.of(SHAPE)), np.isfinite(ds["hm"].values)
    seen = (role == TRAIN) & known[1] & known[2]
    assert fit.sums[1][1].truth == pytest.approx(ds["hm"].values[2][seen].sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"calibration": Calibration()}, "is not calibrated"), ({}, "forecasts one number")],
)
def test_without_a_distribution_the_prior_is_used_and_named(
    ds: xr.Dataset, reader: Reader, changes: dict[str, Any], why: str
) -> None:
    reader = reader if changes else reader_of(ds, h=2, chip=32, buffer=0, knots=[])
    model, notes = model_of(reader, **changes), []
    found = with_dependence(
        model, networks_of(model), reader, seed=0, progress=Progress(on_note=notes.append)
    )
    assert found.dependence is None
    assert found.digest == model.digest
    (note,) = notes
    assert note.startswith(f"model: zone totals: from the prior: the model {why}")


def test_a_trained_model_has_the_dependence_of_its_errors(trained: hmx.Bundle) -> None:
    found = trained.dependence
    assert found is not None
    assert [lead.origins for lead in found.leads] == [4, 3, 2, 1]
    assert all(sum(lead.weights) <= 1 and lead.region >= 0.05 for lead in found.leads)
    assert (found.pixel_m, found.phi) == (300.0, 0.75)
    assert hmx.load(trained.path).dependence == found
    assert len(json.dumps(found.as_dict())) < 2000


def test_a_model_without_dependence_keeps_its_digest_and_uses_the_prior(
    trained: hmx.Bundle, cube: xr.Dataset, tmp_path: Path
) -> None:
    older = replace(trained, dependence=None)
    assert "dependence" not in older.describe()
    assert older.digest != trained.digest
    saved = older.save(tmp_path / "older.model")
    loaded = Bundle.load(tmp_path / "older.model")
    assert loaded.dependence is None
    assert loaded.digest == saved.digest == older.digest
    given = as_cube(cube, target="hm", static=("elevation",))
    found, note = dependence_of(loaded, given)
    assert found.is_prior
    assert found.at(3).weights == PRIOR_WEIGHTS
    assert (found.pixel_m, found.phi) == (300.0, 0.75)
    assert note is not None
    assert note.startswith("intervals of totals are from the prior: the model has no fit of how")
    calm = replace(found, leads=(replace(found.at(1), origins=2),))
    assert describe_dependence(replace(older, dependence=calm)) == (
        "ranges fitted on 2 origins, region-wide spread from the prior, and no larger in 2 "
        "training origins (0 held out)"
    )
    assert dependence_of(trained, given) == (trained.dependence, None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"weights": [0.5, 0.5, 0.5, 0.0, 0.0]}, "sum to 1"),
        ({"weights": [0.5]}, r"dependence\.leads"),
        ({"region": -0.1}, r"dependence\.leads"),
    ],
)
def test_a_damaged_dependence_is_refused(
    trained: hmx.Bundle, tmp_path: Path, change: dict[str, Any], match: str
) -> None:
    trained.save(tmp_path / "m")
    path = tmp_path / "m" / DESCRIPTION
    raw = json.loads(path.read_bytes())
    raw["dependence"]["leads"][0] |= change
    path.write_text(json.dumps(raw))
    with pytest.raises(BundleError, match=match):
        Bundle.load(tmp_path / "m")
