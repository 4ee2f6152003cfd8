"""Laws of losses, balance and options of the map job."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hmx.errors import BadArgument
from hmx.mapping.options import MapTrainOptions, loss_of, split_mapping
from hmx.mapping.train.module import chi_squared, draw_epoch, draw_probabilities, scorer
from hmx.networks.options import MapperOptions
from hmx.settings import parse

KNOTS = (0.1, 0.5, 0.9)
SKEWED = np.random.default_rng(0).lognormal(1, 0.8, 4000)


def case() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(50, 1, requires_grad=True), torch.randn(50), torch.rand(50) + 0.5


def value_and_slope(loss: str, **options: object) -> tuple[float, Tensor]:
    predicted, truth, sigma = case()
    fit = MapTrainOptions(loss=loss, **options)
    value = scorer(MapperOptions(), fit)(predicted, truth, sigma)
    (slope,) = torch.autograd.grad(value, predicted)
    return float(value.detach()), slope


@pytest.mark.parametrize(("loss", "plain"), [("composite_l1", "l1"), ("composite_l2", "mse")])
def test_a_composite_is_the_sum_of_its_parts_and_no_multiple_of_one(loss: str, plain: str) -> None:
    predicted, truth, sigma = case()
    whole, slope = value_and_slope(loss, alpha=0.5)
    part, part_slope = value_and_slope(plain)
    chi = chi_squared(predicted[:, 0], truth, sigma)
    (chi_slope,) = torch.autograd.grad(chi, predicted)
    assert whole == pytest.approx(0.5 * part + 0.5 * float(chi.detach()))
    torch.testing.assert_close(slope, (part_slope + chi_slope) / 2)
    for other, other_slope in ((part, part_slope), (float(chi.detach()), chi_slope)):
        assert abs(whole - other) > 0.05
        alike = torch.nn.functional.cosine_similarity(slope.flatten(), other_slope.flatten(), dim=0)
        assert float(alike) < 0.999  # a multiple would point the same way


@pytest.mark.parametrize(("loss", "plain"), [("composite_l1", "l1"), ("composite_l2", "mse")])
def test_alpha_of_1_is_the_plain_loss(loss: str, plain: str) -> None:
    assert value_and_slope(loss, alpha=1.0)[0] == value_and_slope(plain)[0]


def test_plain_losses_are_what_they_are_called() -> None:
    predicted, truth, _ = case()
    off = (predicted.detach()[:, 0] - truth).numpy()
    assert value_and_slope("mse")[0] == pytest.approx(np.mean(off**2), rel=1e-6)
    assert value_and_slope("l1")[0] == pytest.approx(np.mean(np.abs(off)), rel=1e-6)
    size = np.abs(off)
    huber = np.where(size < 1, size**2 / 2, size - 0.5).mean()
    assert value_and_slope("huber")[0] == pytest.approx(huber, rel=1e-6)


def test_the_quantile_loss_is_least_at_the_quantiles_of_the_truth() -> None:
    torch.manual_seed(0)
    truth = torch.randn(5000)
    loss = scorer(MapperOptions(knots=KNOTS), MapTrainOptions())
    at = torch.quantile(truth, torch.tensor(KNOTS))
    least = loss(at.expand(5000, 3), truth, truth)
    for knot in range(3):
        for moved in (-0.3, 0.3):
            off = at.clone()
            off[knot] += moved
            assert loss(off.expand(5000, 3), truth, truth) > least


@pytest.mark.parametrize(("bins", "share"), [(0, 0.1), (3, 0.13), (4, 0.2), (6, 0.4)])
def test_balance_changes_the_share_of_the_tail_in_a_batch(bins: int, share: float) -> None:
    top = np.quantile(SKEWED, 0.9) <= SKEWED
    drawn = draw_epoch(SKEWED, bins, batch=128, key=(0, 0))
    found = top[drawn].mean(axis=1)  # of each batch
    assert drawn.shape == (31, 128)
    assert found.mean() == pytest.approx(share, abs=0.03)


def test_without_balance_no_sample_comes_twice() -> None:
    drawn = draw_epoch(SKEWED[:1000], 0, batch=100, key=(0, 0))
    assert len(np.unique(drawn)) == 1000


def test_draws_follow_seed_and_epoch() -> None:
    first, again, later = (draw_epoch(SKEWED, 4, batch=64, key=(3, e)) for e in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()


@given(
    values=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    bins=st.sampled_from([0, 2, 3, 5]),
)
def test_probabilities_add_up_whatever_the_ties(values: list[int], bins: int) -> None:
    found = draw_probabilities(np.array(values, float), bins)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1)


def test_names_of_the_study_are_taken() -> None:
    _, fit = split_mapping(
        {"loss_type": "l1", "loss_alpha": 0.2, "target_transform": "log", "num_runs": 3}
    )
    assert (fit.loss, fit.alpha, fit.transform, fit.runs) == ("l1", 0.2, "log", 3)


def test_the_words_of_the_study_mean_what_they_meant() -> None:
    network, fit = split_mapping(
        {"window-size": 7, "time_before": 4, "target-val-ratio": 0.2, "distance_threshold": 1.2}
    )
    assert (network.window, network.history) == (7, 4)
    assert (fit.validation, fit.validation_km) == (0.2, 1.2)
    assert split_mapping({"use_validation": True})[1].validation == 0.1
    assert split_mapping({"use_validation": False, "target_val_ratio": 0.2})[1].validation == 0
    for wrong, words in (
        ({"loss_type": "l1", "loss": "mse"}, "loss_type is another name of loss, and both"),
        ({"use_validation": "yes"}, "is not true or false"),
    ):
        with pytest.raises(BadArgument, match=words):
            split_mapping(wrong)


def test_options_of_network_and_fit_are_told_apart() -> None:
    network, fit = split_mapping({"window": 7, "epochs": 3, "knots": KNOTS})
    assert (network.window, fit.epochs) == (7, 3)
    assert loss_of(network, fit) == "quantile"
    assert loss_of(MapperOptions(), MapTrainOptions()) == "huber"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "l3"}, "loss='l3'"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"sigma": 0}, "sigma=0"),
        ({"transform": "sqrt"}, "transform='sqrt'"),
        ({"bias_correction": "smearing"}, "bias_correction='smearing'"),
        ({"balance": 1}, "balance=1 is one bin, which balances nothing"),
        ({"runs": 3, "ensemble": False}, "the best of runs=3 is chosen on validation groups"),
        ({"validation": 0.7}, "validation=0.7"),
        ({"epoch": 3}, r"unknown option 'epoch'.* Did you mean 'epochs'\?"),
        ({"loss": "quantile"}, r"loss='quantile' does not fit knots=\[\]"),
        ({"loss": "mse", "knots": KNOTS}, r"loss='mse' does not fit knots=\[0.1, 0.5, 0.9\]"),
    ],
)
def test_impossible_options_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        split_mapping(options)


def test_a_fit_refuses_what_it_does_not_know() -> None:
    with pytest.raises(BadArgument, match="unknown option 'loss_typo'"):
        parse(MapTrainOptions, {"loss_typo": "l1"})
