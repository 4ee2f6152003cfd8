"""Laws of the predictive distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.calibration import PROBABILITIES, Calibration, LeadCalibration, fit_lead, fit_leads
from hmx.errors import BadArgument

CHANCE = st.floats(0.001, 0.999)
SIZE = st.floats(0, 2)


def nature(n, seed):
    """A skewed law whose errors grow with the forecast change: origin, forecast, truth."""
    rng = np.random.default_rng(seed)
    origin = rng.random(n)
    change = rng.exponential(0.1, n)
    error = (rng.gamma(2.0, 1.0, n) - 2.0) * (0.01 + 0.3 * change)
    return origin, origin + change, origin + change + error


def learnt(leads=1, n=20_000):
    fits = []
    for lead in range(leads):
        origin, forecast, truth = nature(n, seed=lead)
        fits.append(fit_lead((truth - forecast) * (lead + 1), forecast - origin))
    return Calibration(tuple(fits))


CALIBRATION = learnt()


def shift(calibration, size, *, lead=1, probability=0.9):
    """The quantile's distance from the forecast at one size of change."""
    size = np.atleast_1d(np.asarray(size, "float64"))
    return calibration.quantile(size, size * 0, lead=lead, probability=probability) - size


@given(CHANCE, CHANCE, st.lists(SIZE, min_size=1, max_size=9), st.integers(1, 6))
def test_quantiles_never_cross(one, other, sizes, lead):
    low, high = (shift(CALIBRATION, sizes, lead=lead, probability=p) for p in sorted((one, other)))
    assert (low <= high).all()


@pytest.mark.parametrize("level", [50, 80, 90, 95])
def test_an_interval_covers_as_often_as_it_says(level):
    origin, forecast, truth = nature(20_000, seed=99)
    low, high = (
        CALIBRATION.quantile(forecast, origin, lead=1, probability=p)
        for p in (0.5 - level / 200, 0.5 + level / 200)
    )
    inside = (low <= truth) & (truth <= high)
    assert 100 * inside.mean() == pytest.approx(level, abs=2)
    for part in np.array_split(np.argsort(forecast - origin), 4):  # so it does for any change
        assert 100 * inside[part].mean() == pytest.approx(level, abs=4)


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_a_quantile_is_passed_from_below_as_often_as_it_says(probability):
    origin, forecast, truth = nature(20_000, seed=98)
    found = CALIBRATION.quantile(forecast, origin, lead=1, probability=probability)
    assert (truth <= found).mean() == pytest.approx(probability, abs=0.02)


def test_large_changes_are_less_certain():
    width = shift(CALIBRATION, [0.01, 0.1, 0.4], probability=0.9) - shift(
        CALIBRATION, [0.01, 0.1, 0.4], probability=0.1
    )
    assert (np.diff(width) > 0).all()


def test_every_calibrated_lead_has_its_own_errors():
    two = learnt(leads=2)
    assert shift(two, 0.1, lead=2) == pytest.approx(2 * shift(two, 0.1, lead=1), rel=0.1)


def test_pooled_leads_cover_as_often_as_they_say_each_with_its_own_size():
    samples = [nature(n, seed=n) for n in (20_000, 10_000, 2_000)]
    errors = [(t - f) * size for (_, f, t), size in zip(samples, (1, 2, 5), strict=True)]
    changes = [(f - o) * size for (o, f, _), size in zip(samples, (1, 3, 4), strict=True)]
    together = Calibration(fit_leads(errors, changes))
    for lead, (size, step) in enumerate(((1, 1), (2, 3), (5, 4)), start=1):
        origin, forecast, truth = nature(20_000, seed=50 + lead)
        ahead, came = origin + (forecast - origin) * step, (truth - forecast) * size
        low, high = (
            together.quantile(ahead, origin, lead=lead, probability=p) - ahead for p in (0.1, 0.9)
        )
        assert ((low <= came) & (came <= high)).mean() == pytest.approx(0.8, abs=0.03)


def test_errors_never_shrink_with_lead():
    calm, wild = np.random.default_rng(0).normal(size=(2, 2000)) * [[0.01], [1.0]]
    leads = fit_leads([wild, calm], [np.ones(2000)] * 2)
    np.testing.assert_allclose(leads[1].quantiles, leads[0].quantiles)
    assert leads[1].n == 2000


def test_a_perfect_forecast_has_intervals_of_no_width():
    leads = fit_leads([np.zeros(500)] * 2, [np.zeros(500)] * 2)
    assert (leads[1].quantiles == 0).all()


@given(st.integers(2, 30), CHANCE)
def test_errors_widen_as_a_random_walk_beyond_the_calibrated_leads(lead, probability):
    last = shift(TWO, [0.0, 0.1, 0.5], lead=2, probability=probability)
    found = shift(TWO, [0.0, 0.1, 0.5], lead=lead, probability=probability)
    np.testing.assert_allclose(found, last * np.sqrt(lead / 2))


TWO = learnt(leads=2, n=4000)


def test_quantiles_have_no_jump_between_strata():
    sizes = np.linspace(0, 1.5, 60_001)
    for probability in (0.025, 0.5, 0.975):
        steps = np.abs(np.diff(shift(CALIBRATION, sizes, probability=probability)))
        assert steps.max() < 1e-4


def test_only_the_size_of_a_change_matters():
    up = CALIBRATION.quantile(np.array([0.7]), np.array([0.5]), lead=1, probability=0.9)
    down = CALIBRATION.quantile(np.array([0.3]), np.array([0.5]), lead=1, probability=0.9)
    assert up - 0.7 == pytest.approx(down - 0.3)


def test_a_quantile_has_the_shape_and_type_of_the_forecast():
    forecast = np.zeros((3, 4), "float32")
    forecast[0, 0] = np.nan
    found = CALIBRATION.quantile(forecast, forecast * 0, lead=1, probability=0.1)
    assert (found.shape, found.dtype) == ((3, 4), "float32")
    assert (np.isnan(found) == np.isnan(forecast)).all()


def test_an_uncalibrated_model_says_how_to_calibrate_it():
    for ask in (
        Calibration().require,
        lambda: Calibration().quantile(np.zeros(1), np.zeros(1), lead=1, probability=0.5),
    ):
        with pytest.raises(BadArgument) as caught:
            ask()
        assert str(caught.value) == (
            "this model has no calibration, so it cannot give intervals or quantiles. "
            "Train it with calibration=0.1, or leave out level= and quantiles=."
        )
    CALIBRATION.require()


@given(st.integers(1, 5000), st.integers(1, 12), st.integers(0, 9), st.booleans())
def test_strata_ascend_and_are_few(n, strata, seed, ties):
    rng = np.random.default_rng(seed)
    change = rng.random(n) * (rng.random(n) < 0.3 if ties else 1)
    fit = fit_lead(rng.normal(size=n), change, strata=strata)
    assert fit.n == n
    assert 1 <= len(fit.centres) <= max(1, min(strata, n // 200))
    assert (np.diff(fit.centres) > 0).all()
    assert fit.quantiles.shape == (len(fit.centres), len(PROBABILITIES))
    assert (np.diff(fit.quantiles, axis=1) >= 0).all()


def test_pixels_that_share_a_change_are_all_learnt_from():
    calm, wild = np.random.default_rng(0).normal(size=(2, 2000)) * [[0.01], [1.0]]
    errors = np.concatenate([calm, wild])
    fit = fit_lead(errors, np.zeros(4000))
    assert fit.centres.tolist() == [0.0]
    inside = np.abs(errors) <= np.interp(0.95, PROBABILITIES, fit.quantiles[0])
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


def test_the_order_of_pixels_does_not_matter():
    origin, forecast, truth = nature(5000, seed=3)
    turned = np.random.default_rng(0).permutation(5000)
    one = fit_lead(truth - forecast, forecast - origin)
    other = fit_lead((truth - forecast)[turned], (forecast - origin)[turned])
    np.testing.assert_array_equal(one.centres, other.centres)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_quantiles_are_read_at_the_conformal_rank():
    fit = fit_lead(np.arange(1.0, 200.0), np.zeros(199))  # n + 1 = 200
    assert isinstance(fit, LeadCalibration)
    assert np.interp([0.1, 0.5, 0.9], PROBABILITIES, fit.quantiles[0]) == pytest.approx(
        [20, 100, 180]
    )


def test_probabilities_ascend_and_are_symmetric():
    assert (np.diff(PROBABILITIES) > 0).all()
    np.testing.assert_allclose(PROBABILITIES + PROBABILITIES[::-1], 1)
