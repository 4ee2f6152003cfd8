"""Laws of the rungs: how far a linear forecast goes beyond "no change"."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from hmx.features.linear import NormalEquations
from hmx.forecast.train.rungs import Mixture, Origins, _weights
from hmx.uncertainty.agreement import trust_of

N = 4000
CHANGES = np.array([False, True, True])  # state, last change, mean change of the surroundings


def step(
    slope: float, *, seed: int, size: float = 1.0, leads: int = 1, state: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Make channels (3, n) of an origin and changes (leads, n): ``slope`` of the last one."""
    rng = np.random.default_rng(seed)
    last = size * rng.standard_normal(N)
    around = 0.5 * last + size * rng.standard_normal(N)
    x = np.stack([rng.standard_normal(N), last, around])
    noise = size * rng.standard_normal((leads, N)).cumsum(axis=0)
    return x, slope * last * np.arange(1, leads + 1)[:, None] + state * size * x[0] + noise


def origins_of(steps: list[tuple[np.ndarray, np.ndarray]]) -> Origins:
    sums = [NormalEquations.of(x, y) for x, y in steps]
    return Origins(sums, last_change=1, changes=CHANGES)


def test_the_damped_trend_is_one_factor_of_the_last_change_between_minus_one_and_one() -> None:
    for slope in (0.4, -0.6, 3.0, -3.0):
        steps = [step(slope, seed=seed) for seed in range(3)]
        rungs = origins_of(steps).rungs()
        # free of scale, a factor is relative to the sizes of both steps
        ratios = [np.sqrt((y[0] ** 2).mean() / (x[1] ** 2).mean()) for x, y in steps]
        assert rungs.damping == pytest.approx(slope / np.mean(ratios), abs=0.05)
    # a fall to no change and beyond: the best factor would be below -1
    x, y = step(0.0, seed=1)
    quiet = origins_of([(x * [[1], [0.01], [1]], -x[1] + 0 * y)])
    assert quiet.rungs().damping == -1
    assert np.flatnonzero(rungs.trend).tolist() == [2]


def test_the_regression_is_ridge_on_what_the_damped_trend_leaves() -> None:
    steps = [step(0.4, seed=seed, state=0.3) for seed in range(3)]
    origins = origins_of(steps)
    rungs = origins.rungs()
    rows, rest = [], []
    for x, y in steps:
        before, after = np.sqrt((x[1] ** 2).mean()), np.sqrt((y[0] ** 2).mean())
        scaled = np.stack([x[0], x[1] / before, x[2] / before])
        rows.append(scaled)
        rest.append(y[0] / after - rungs.damping * scaled[1])
    scaler = StandardScaler().fit(np.concatenate(rows, axis=1).T)
    x, y = scaler.transform(np.concatenate(rows, axis=1).T), np.concatenate(rest)
    wanted = Ridge(alpha=0.01 * len(y)).fit(x, y)
    slopes = wanted.coef_ / scaler.scale_
    slopes[1] += rungs.damping
    np.testing.assert_allclose(rungs.regression[1:], slopes, atol=1e-6)
    intercept = wanted.intercept_ - (wanted.coef_ / scaler.scale_) @ scaler.mean_
    assert rungs.regression[0] == pytest.approx(intercept, abs=1e-6)


@given(scale=st.floats(0.3, 10))
def test_an_origin_counts_alike_whatever_the_size_of_its_steps(scale: float) -> None:
    steps = [step(0.5, seed=seed, state=0.2) for seed in range(3)]
    x, y = steps[1]
    grown = [steps[0], (np.stack([x[0], scale * x[1], scale * x[2]]), scale * y), steps[2]]
    one, other = origins_of(steps), origins_of(grown)
    np.testing.assert_allclose(one.rungs().regression, other.rungs().regression, atol=1e-7)
    assert one.rungs().damping == pytest.approx(other.rungs().damping, abs=1e-7)


def test_a_forecast_has_the_size_of_the_last_step_or_the_usual_one_if_that_is_less() -> None:
    origins = origins_of([step(0.5, seed=seed) for seed in range(3)])
    usual = origins.rungs().usual
    # a coefficient of 1 of the state, and of a change of the size of the last step
    for before in (0.2 * usual, usual, 5 * usual):
        factors = origins.factors(before, usual)
        assert factors[1] == pytest.approx(min(before, usual))
        assert factors[2] * before == pytest.approx(min(before, usual))


def test_steps_that_repeat_a_rule_are_followed_and_steps_that_break_it_are_not() -> None:
    same = origins_of([step(0.7, seed=seed) for seed in range(5)]).mixture()
    assert same.total > 0.8
    assert min(same.gains) > 0.1
    mixed = origins_of([step(s, seed=i) for i, s in enumerate((0.7, -0.6, 0.5, -0.7))]).mixture()
    assert mixed.total < 0.1
    turned = origins_of([step(0.7, seed=0), step(-0.7, seed=1)]).mixture()
    assert turned == Mixture(0.0, 0.0, turned.gains, 0.0)
    random = origins_of([step(0.0, seed=seed) for seed in range(4)]).mixture()
    assert random.total < 0.3
    assert max(random.gains) < 0.01


def test_weights_make_up_for_the_origin_that_each_fit_was_without() -> None:
    """A fit on n - 1 origins has n / (n - 1) times the error of one on all n."""
    origins = origins_of([step(1.2, seed=0), step(0.1, seed=1), step(0.4, seed=2)])
    rows, truths = [], []
    for index in range(3):
        rungs, gram = origins.rungs(without=index), origins.grams[index][0]
        size = min(origins.before[index], rungs.usual) / origins.after[index]
        # a root of the sums has the same squared error as all pixels together
        root = np.linalg.cholesky(gram + 1e-12 * np.eye(len(gram))).T
        rows.append(root[:, :-1] @ (size * np.stack([rungs.trend, rungs.regression])).T)
        truths.append(root[:, -1])
    x, y = np.concatenate(rows), np.concatenate(truths)
    total = _weights(x.T @ x / 3, x.T @ y / 3).sum()
    assert 0.5 < total < 0.98
    found, more = origins.mixture(), total / (total + (1 - total) * 2 / 3)
    assert found.total / found.trust == pytest.approx(more, rel=1e-3)


def test_nothing_that_ever_changed_is_no_reason_to_forecast_change() -> None:
    x, y = step(0.5, seed=0)
    still = origins_of([(x * [[1], [0], [0]], 0 * y)] * 2)
    assert still.still
    assert still.mixture() == Mixture(0.0, 0.0)
    assert len(still) == 2


def test_a_step_in_which_nothing_changed_counts_against_change() -> None:
    steps = [step(0.7, seed=seed) for seed in range(3)]
    x, y = step(0.7, seed=9)
    found = origins_of([*steps, (x, 0 * y)]).mixture()
    assert found.gains[-1] < 0
    assert found.total < origins_of(steps).mixture().total


def test_a_single_origin_is_followed_by_half_of_its_damped_trend() -> None:
    found = origins_of([step(0.7, seed=0)]).mixture()
    assert found == Mixture(0.5, 0.0, (), 0.5)


def test_sizes_of_leads_grow_as_change_does_and_few_truths_move_them_less() -> None:
    # change of a lead is `lead` times that of one step; origins without late truths count less
    steps = [step(0.7, seed=seed, leads=3) for seed in range(4)]
    for number, (_, y) in enumerate(steps):
        y[1 + 3 - number :] = np.nan
    origins = origins_of(steps)
    sizes = origins.lead_sizes(origins.mixture())
    assert sizes[0] == 1
    assert sizes[1] == pytest.approx(1 + 3 / 4, abs=0.15)
    assert sizes[2] == pytest.approx(sizes[1] + (3 - sizes[1]) * 2 / 3, abs=0.15)


def test_a_lead_without_truth_has_the_size_of_the_lead_before_it() -> None:
    steps = [step(0.7, seed=seed, leads=2) for seed in range(3)]
    for _, y in steps:
        y[1] = np.nan
    origins = origins_of(steps)
    assert origins.lead_sizes(origins.mixture()).tolist() == [1.0, 1.0]


def test_caution_at_one_step_stays_at_every_lead() -> None:
    origins = origins_of([step(0.7, seed=seed, leads=2) for seed in range(3)])
    full = origins.lead_sizes(Mixture(0.0, 1.0))
    half = origins.lead_sizes(Mixture(0.0, 0.5))
    np.testing.assert_allclose(half, full)


@given(
    st.lists(st.floats(-2, 2), min_size=4, max_size=4), st.lists(st.floats(-2, 2), min_size=2,
    max_size=2),
)  # fmt: skip
def test_weights_are_the_best_of_those_allowed(root: list[float], goal: list[float]) -> None:
    """No worse than a general solver finds from any corner."""
    factor = np.array(root).reshape(2, 2)
    product, wanted = factor @ factor.T + 1e-3 * np.eye(2), np.array(goal)

    def loss(w: np.ndarray) -> float:
        return float(w @ product @ w - 2 * wanted @ w)

    found = _weights(product, wanted)
    assert (found >= 0).all()
    assert found.sum() <= 1 + 1e-12
    limits = [{"type": "ineq", "fun": lambda w: 1 - w.sum()}]
    for start in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.3, 0.3]):
        other = minimize(loss, start, bounds=[(0, 1)] * 2, constraints=limits, method="SLSQP")
        assert loss(found) <= loss(np.clip(other.x, 0, 1)) + 1e-6


def test_trust_grows_with_agreement_and_with_the_number_of_origins() -> None:
    assert trust_of([3.0]) == 0.5
    assert trust_of([1.0, 1.0]) == pytest.approx(4 / 4.5)
    assert trust_of([1.0, 1.0, 1.0]) == pytest.approx(27 / 28)
    assert trust_of([0.2, 1.8]) < trust_of([0.8, 1.2]) < trust_of([1.0, 1.0])
    assert trust_of([-1.0, -1.0]) == trust_of([1.0, 1.0]), "a correction may point either way"
    assert trust_of([1.0, -1.0]) == 0
    # one of three took back: two thirds of what the scatter alone would leave
    scatter = (2 * 0.7**2 + 1.4**2) / (0.3 * 1.3**2)
    assert trust_of([2.0, 2.0, -0.1]) == pytest.approx(2 / 3 * 9 / (9 + 1 / 3 + scatter))
    assert trust_of([]) == 0
