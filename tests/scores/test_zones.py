"""Laws of zones as sums: means of zones, four ways to make their intervals, and their scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from hmx.scores.zones import (
    BOUNDS,
    DRAWS,
    EFFECTIVE,
    PIXELS,
    HeldZones,
    PastErrors,
    ZoneCell,
    ZoneMeans,
    ZoneTally,
    joined,
    ratio_of,
)  # fmt: skip

LEVELS = (50.0, 95.0)
FAR = NormalDist().inv_cdf(0.975)


def pixels(seed: int = 0, count: int = 400, zones: int = 5) -> tuple[np.ndarray, ...]:
    """Zones and areas of pixels, their values, and draws of them."""
    rng = np.random.default_rng(seed)
    middle, spread = rng.random(count), 0.1 * rng.random(count)
    values = {
        "origin": rng.random(count),
        "truth": middle + spread * rng.standard_normal(count),
        "expected": middle,
        "variance": spread**2,
        "shift": spread,
        "ends": np.stack(
            [[middle - k * spread for k in (1, 2)], [middle + k * spread for k in (1, 2)]]
        ),
    }
    draws = middle + spread * rng.standard_normal((200, count))
    return rng.integers(0, zones, count), rng.random(count) + 0.5, values, draws


def summed(select: slice = slice(None)) -> ZoneMeans:
    zone, area, values, draws = pixels()
    zone, area = zone[select], area[select]
    values = {name: layer[..., select] for name, layer in values.items()}
    drawn = [np.bincount(zone, area * one, 5) for one in draws[:, select]]
    return replace(ZoneMeans.of(zone, 5, area, values), draws=np.array(drawn))


def test_sums_of_parts_are_those_of_the_whole() -> None:
    whole, parts = summed(), summed(slice(0, 150)) + summed(slice(150, None))
    for name in ("pixels", "area", "truth", "expected", "variance", "shift", "ends", "draws"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name)), name


def test_intervals_follow_from_the_pixels_by_each_rule() -> None:
    zone, area, values, draws = pixels()
    one = zone == 3
    weight = area[one] / area[one].sum()
    ratio, region = np.array([4.0, 4, 4, 4, 4]), 0.05
    ends = summed().intervals(LEVELS, ratio, region)
    assert {*ends} == {(m, n) for m in (DRAWS, PIXELS, BOUNDS, EFFECTIVE) for n in LEVELS}
    totals = draws[:, one] @ weight
    low, high = (ends[DRAWS, 95.0][end][3] for end in (0, 1))
    assert (low, high) == pytest.approx(tuple(np.quantile(totals, [0.025, 0.975])))
    middle = weight @ values["expected"][one]
    independent = (weight**2) @ values["variance"][one]
    assert ends[PIXELS, 95.0][1][3] == pytest.approx(middle + FAR * math.sqrt(independent))
    common = region * (weight @ values["shift"][one]) ** 2
    wider = math.sqrt(4 * independent + common)
    assert ends[EFFECTIVE, 95.0][0][3] == pytest.approx(middle - FAR * wider)
    assert ends[BOUNDS, 50.0][0][3] == pytest.approx(weight @ values["ends"][0, 0, one])
    assert ends[BOUNDS, 95.0][1][3] == pytest.approx(weight @ values["ends"][1, 1, one])


def test_without_draws_and_without_a_past_their_intervals_are_missing() -> None:
    sums = replace(summed(), draws=np.zeros((0, 5)))
    assert {method for method, _ in sums.intervals(LEVELS)} == {PIXELS, BOUNDS}
    figures = sums.score(sums.intervals(LEVELS), 0.0).figures()
    assert math.isnan(figures["coverage_95"])
    assert math.isnan(figures["score_over_effective_95"])
    assert figures["coverage_95_pixels"] > 0


def test_an_interval_score_is_width_and_what_truths_are_off() -> None:
    found = HeldZones.of([0.5, 1.3, -0.05], [0.0] * 3, [1.0] * 3, level=80, tolerance=0.1)
    assert (found.share, found.tolerant) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert found.width == 1
    assert found.interval_score == pytest.approx(1 + 10 * (0.3 + 0.05) / 3)


def test_a_truth_at_the_end_is_inside_and_one_at_the_tolerance_too() -> None:
    found = HeldZones.of([1.0, 1.5], [0.0] * 2, [1.0] * 2, level=50, tolerance=0.5)
    assert (found.held, found.near) == (1, 2)


def test_totals_are_changes_since_the_origin_by_area() -> None:
    _, area, values, _ = pixels()
    sums = summed()
    figures = sums.score(sums.intervals(LEVELS), 0.0).figures()
    assert figures["zones"] == 5
    for name, layer in (("expected_change", "expected"), ("observed_change", "truth")):
        want = area @ (values[layer] - values["origin"]) / area.sum()
        assert figures[name] == pytest.approx(want)


def test_draws_from_the_true_law_cover_what_they_promise() -> None:
    rng = np.random.default_rng(1)
    common = rng.standard_normal((201, 2000))  # all pixels of a zone err together
    area = np.full(2000, 25.0)
    middle = np.zeros(2000)
    layers = dict.fromkeys(("origin", "expected", "shift"), middle)
    layers |= {"truth": common[0], "variance": np.full(2000, 1 / 25)}
    layers["ends"] = np.broadcast_to(np.array([[[-FAR]], [[FAR]]]), (2, 1, 2000))
    sums = ZoneMeans.of(np.arange(2000), 2000, area, layers)
    cell = replace(sums, draws=common[1:] * area)
    cell = cell.score(cell.intervals((95.0,)), 0.0)
    figures = cell.figures()
    assert figures["coverage_95"] == pytest.approx(0.945, abs=0.012)  # quantiles of 200 draws
    assert figures["coverage_95_pixels"] < 0.4
    assert figures["score_over_pixels_95"] < 0.5
    assert figures["score_over_bounds_95"] == pytest.approx(1, abs=0.03)


def test_the_ratio_of_past_errors_is_a_line_in_logarithms() -> None:
    def errors(n: float, ratio: float) -> PastErrors:
        return PastErrors(zones=10, pixels=10 * n, squared=ratio * 0.5, variance=0.5)

    past = {("10 px", 1): errors(100, 2), ("30 px", 1): errors(900, 6)}
    ratio = ratio_of(past, 1)
    assert ratio is not None
    # slope 1/2: three times the ratio for nine times the pixels, also beyond the ends
    assert ratio(np.array([25.0, 100, 300, 900, 3600])) == pytest.approx([1, 2, 2 * 3**0.5, 6, 12])
    assert ratio_of(past, 2) is None
    alone = ratio_of({("10 px", 1): errors(100, 2)}, 1)
    assert alone is not None
    assert alone(np.array([1.0, 1e6])) == pytest.approx([2, 2])


def test_past_errors_compare_means_and_add_up() -> None:
    sums = summed()
    found = PastErrors.of(sums)
    error = (sums.truth - sums.expected) / sums.area
    assert found.zones == 5
    assert found.squared == pytest.approx((error**2).sum())
    both = joined([{("10 px", 1): found}, {("10 px", 1): found, ("10 px", 2): found}])
    assert both["10 px", 1].squared == pytest.approx(2 * found.squared)
    assert both["10 px", 2] == found
    empty = ZoneMeans.of(np.zeros(0, int), 2, np.zeros(0), {
        **dict.fromkeys(("origin", "truth", "expected", "variance", "shift"), np.zeros(0)),
        "ends": np.zeros((2, 1, 0)),
    })  # fmt: skip
    assert PastErrors.of(empty) == PastErrors()


def test_tallies_add_up_and_survive_json() -> None:
    sums = summed()
    cell = sums.score(sums.intervals(LEVELS, np.ones(5)), 0.001)
    parts = [sums.take(np.array(at)) for at in ([0, 1], [2, 3, 4])]
    one, two = (
        part.score(part.intervals(LEVELS, np.ones(part.area.size)), 0.001) for part in parts
    )
    added = ZoneTally({("30 px", 1): one}) + ZoneTally({("30 px", 1): two, ("60 px", 2): two})
    assert added["30 px", 1].figures() == pytest.approx(cell.figures())
    assert added.sizes == ("30 px", "60 px")
    assert added["10 px", 1] == ZoneCell()
    again = ZoneTally.from_dict(json.loads(json.dumps(added.as_dict())))
    assert again == added
