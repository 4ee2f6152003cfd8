"""Laws of the sheet of checks that rules for soil carbon ask for."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from hmx.mapping.checks import Check, CheckSheet, check_errors
from hmx.mapping.evaluate.scorecard import MapScorecard
from tests.mapping.evaluate.test_scorecard import card_of
from tests.mapping.test_correlogram import DEGREE, correlated, scattered

N = 400


def sheet(**changed: Any) -> CheckSheet:
    """The sheet of a good map of 400 samples, some arrays replaced."""
    draw = np.random.default_rng(0)
    truth = draw.gamma(4.0, 10.0, N)
    center = truth + draw.normal(0, 5, N)
    given = {"truth": truth, "center": center, "lonlat": scattered(N, 60e3)} | changed
    half = 1.645 * 5 * given.pop("stretch", 1.0)
    given.setdefault("bounds", {90.0: (given["center"] - half, given["center"] + half)})
    return check_errors(**given, source="a world", units="t/ha")


def test_a_good_map_passes_what_can_be_computed() -> None:
    found = sheet()
    assert [check.result for check in found.checks] == ["passed"] * 3 + ["failed"]
    assert "chance explains 87.0% to 92.8%" in found["coverage of 90 % intervals"].finding
    assert "t/ha on average" in found["no bias"].finding


@pytest.mark.parametrize(
    ("stretch", "result", "text"),
    [(0.7, "failed", r"\(7\d\.\d%\)"), (1.0, "passed", "inside"), (1.6, "passed", "wider than")],
)
def test_coverage_is_judged_against_what_chance_explains(
    stretch: float, result: str, text: str
) -> None:
    check = sheet(stretch=stretch)["coverage of 90 % intervals"]
    assert check.result == result
    assert re.search(text, check.finding)


def test_a_map_that_explains_nothing_fails() -> None:
    draw = np.random.default_rng(1)
    found = sheet(truth=draw.normal(50, 5, N), center=draw.normal(50, 5, N))
    assert found["R2 above 0"].result == "failed"


def test_a_biased_map_fails_and_its_bias_is_named() -> None:
    truth = np.random.default_rng(0).gamma(4.0, 10.0, N)
    error = np.random.default_rng(1).normal(-2, 5, N)
    check = sheet(truth=truth, center=truth + error)["no bias"]
    assert check.result == "failed"
    assert check.finding.startswith(f"predicted less measured is {error.mean():.3g} t/ha")


def test_unbiased_errors_that_depend_on_each_other_rarely_fail() -> None:
    # as independent samples, they would fail in half of the worlds
    failed, plain = 0, 0
    for seed in range(60):
        lonlat = scattered(200, 60e3, seed=seed)
        error = correlated(lonlat, 0.7, 8e3, seed=seed)
        truth = np.random.default_rng(seed).normal(50, 10, 200)
        found = check_errors(truth, truth + error, {}, lonlat, source="")["no bias"]
        failed += found.result == "failed"
        plain += abs(error.mean()) > 1.96 * error.std() / np.sqrt(200)
    assert failed <= 9
    assert plain >= 15


def test_what_cannot_be_computed_is_named_with_the_reason() -> None:
    far = np.stack([np.arange(30.0), np.zeros(30)], axis=1)  # degrees
    flat = np.full(30, 7.0)
    found = sheet(truth=flat, center=flat, lonlat=far, bounds={50.0: (flat, flat)})
    assert [check.result for check in found.checks] == ["not computable"] * 4
    for check, text in zip(
        found.checks, ("level=90", "do not vary", "do not differ", "no two samples"), strict=True
    ):
        assert text in check.finding
    few = sheet(truth=flat[:9], center=flat[:9], lonlat=far[:9], bounds={90.0: (flat[:9],) * 2})
    assert "9 samples are too few" in few["coverage of 90 % intervals"].finding


def test_enough_pairs_in_every_class_pass_and_one_sparse_class_fails() -> None:
    line = np.arange(80) * 50.0 / DEGREE  # every 50 m
    dense = np.stack([line, np.zeros(80)], axis=1)
    truth = np.random.default_rng(0).normal(50, 10, 80)
    given = {"truth": truth, "center": truth + 1 - 2 * (np.arange(80) % 2)}
    name = "pairs of samples within 500 m"
    assert sheet(**given, lonlat=dense)[name].result == "passed"
    sparse = sheet(**given, lonlat=dense * 2.5)[name]  # every 125 m: none between 0 and 100 m
    assert sparse.result == "failed"
    assert "0-100 m: 0," in sparse.finding


def test_a_scorecard_has_the_sheet_in_its_text_and_its_files(tmp_path: Any) -> None:
    card = card_of()
    found = card.checks()
    assert "hmx certifies nothing" in str(card)
    assert all(check.name in str(card) for check in found.checks)
    card.save(str(tmp_path / "card"))
    text = (tmp_path / "card" / "checks.md").read_text()
    assert text == found.markdown()
    assert text.count("\n| ") == 1 + len(found.checks)
    loaded = MapScorecard.load(str(tmp_path / "card"))
    assert loaded.checks().as_dict() == found.as_dict()
    assert isinstance(found.checks[0], Check)
