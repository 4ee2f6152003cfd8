"""Laws of the losses: what is minimised is what the options name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import hmx
from hmx.cube.cube import as_cube
from hmx.errors import BadArgument
from hmx.forecast.options import TrainOptions, split_fitting
from hmx.forecast.train import losses
from hmx.forecast.train.data import Batch, Chips, Draw, Reader
from hmx.forecast.train.losses import Criterion, loss, similarity
from hmx.forecast.train.recipe import TrainSetup, plan
from hmx.networks.forecaster import Forecaster
from hmx.networks.options import ModelOptions
from hmx.scores import ssim_map
from hmx.windows import Window

NUMBER = {"knots": (), "width": 3, "trunk": (1,), "context": (1,), "history": 2, "chip": 32}


@pytest.mark.parametrize("offset", [0.0, 280.0])
@pytest.mark.parametrize("holes", [False, True])
def test_similarity_is_the_ssim_of_the_scorecard(offset: float, holes: bool) -> None:
    """Also of values far from zero, in float32."""
    rng = np.random.default_rng(0)
    truth, value = (offset + rng.random((2, 23, 19)) for _ in range(2))
    known = rng.random((2, 23, 19)) > (0.3 if holes else -1)
    want = [
        ssim_map(np.where(k, t, np.nan), v, data_range=1.0)
        for t, v, k in zip(truth, value, known, strict=True)
    ]
    spoiled = np.where(known, truth, 0.0)
    tensors = (torch.from_numpy(a.astype("float32")) for a in (spoiled, value))
    found = similarity(*tensors, torch.from_numpy(known), middle=offset + 0.5, span=1.0).numpy()
    np.testing.assert_allclose(found[known], np.stack(want)[known], atol=2e-4)
    assert (found[~known] == 1).all()
    assert found[known].std() > 0.05


def first_batch(cube: xr.Dataset, **options: Any) -> tuple[Reader, Batch]:
    network, fit = split_fitting({**NUMBER, "h": 2, **options})
    made = plan(as_cube(cube, target="hm"), TrainSetup("hm", (), ("elevation",), network, fit))
    draw = Draw.of(made.reader, made.scanned.changed, 0.0)
    return made.reader, next(iter(Chips(made.reader, draw, 32, batch=3, steps=1, key=(0, 0))))


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_the_loss_is_the_squared_error_of_z_scores_and_dissimilarity(
    cube: xr.Dataset, strategy: str
) -> None:
    reader, batch = first_batch(cube, strategy=strategy)
    batch = batch._replace(inner=torch.zeros_like(batch.inner))  # no steps inside the history
    network, sizes = Forecaster.of(reader.spec, reader.scaler), reader.sizes
    with torch.no_grad():
        network.head.bias += 0.7
        ahead = network(batch.seen, h=2)[:, :, 0].numpy()
    truth, weight = batch.truth.numpy(), batch.weight.numpy()
    squared = ((ahead - truth) / reader.scaler.std["hm"]) ** 2
    unlike = np.zeros_like(squared)
    for index in np.ndindex(squared.shape[:2]):
        masked = np.where(weight[index] > 0, truth[index], np.nan)
        unlike[index] = np.nan_to_num(1 - ssim_map(masked, ahead[index], data_range=1.0))
    count = (weight > 0).sum(axis=(0, 2, 3)).max()
    for criterion, error in (
        (Criterion("mse"), squared),
        (Criterion("mse+ssim", ssim=0.2), squared + 0.2 * unlike),
    ):
        found = loss(network, batch, sizes, criterion)
        assert float(found.detach()) == pytest.approx((weight * error).sum() / count, rel=1e-4)
        found.backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_weight_of_the_dissimilarity_counts_only_where_it_is_asked_for() -> None:
    assert Criterion.of(TrainOptions(loss="mse", ssim=0.5)) == Criterion("mse")
    assert Criterion.of(TrainOptions(loss="mse+ssim", ssim=0.5)).ssim == 0.5
    assert Criterion.of(TrainOptions()) == Criterion("crps", squared=0.03)


def test_absent_truth_is_never_counted_in_its_surroundings(cube: xr.Dataset) -> None:
    reader, batch = first_batch(cube, h=3)
    network = Forecaster.of(reader.spec, reader.scaler)
    assert (batch.weight == 0).any()
    spoiled = batch._replace(truth=torch.where(batch.weight > 0, batch.truth, 1e3))
    both = Criterion("mse+ssim", ssim=1.0)
    sizes = reader.sizes
    assert torch.equal(loss(network, batch, sizes, both), loss(network, spoiled, sizes, both))


@pytest.mark.parametrize("name", ["mse", "mse+ssim"])
def test_a_loss_of_one_number_is_refused_for_distributions(cube: xr.Dataset, name: str) -> None:
    text = rf"loss='{name}'.*trains one number, and this network gives 13 quantiles.*knots=\[\]"
    with pytest.raises(BadArgument, match=text.replace("+", r"\+")):
        cube.hm.train(loss=name, epochs=1)


# one number -----------------------------------------------------------------------------

FIRST_STAGE = {
    "arch": "convlstm", "strategy": "recursive", "predict": "state", "knots": [], "hidden": 4,
    "layers": 1, "trunk": [], "context": [], "terrain": [], "history": 2, "h": 1,
    "loss": "mse+ssim", "epochs": 2, "steps": 6, "chip": 48, "final": False, "lr": 2e-2,
    "calibration": 0.25, "jitter": 0, "ema": 0.8,
}  # fmt: skip


@pytest.fixture(scope="module")
def first_stage(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    out = tmp_path_factory.mktemp("first") / "m"
    return cube.hm.train(static=["elevation"], out=out, **FIRST_STAGE)


def test_intervals_of_one_number_are_those_of_its_errors(
    cube: xr.Dataset, first_stage: hmx.Bundle
) -> None:
    """Of one width at all pixels where no bound cuts it, and wider at a higher level."""
    fc = cube.hm.forecast(h=3, model=hmx.load(first_stage.path), level=[50, 90]).compute()
    one = fc.isel(time=0)
    inside = (one["hm_lo_90"] > 0) & (one["hm_hi_90"] < 1)
    assert int(inside.sum()) > 500
    for level in (50, 90):
        width = (one[f"hm_hi_{level}"] - one[f"hm_lo_{level}"]).where(inside)
        assert float(width.max() - width.min()) < 1e-5
        assert float(width.mean()) > 0
    assert float((one["hm_hi_90"] - one["hm_hi_50"]).where(inside).min()) > 0


def test_the_intervals_of_one_number_contain_their_share_of_the_calibration_blocks(
    cube: xr.Dataset, first_stage: hmx.Bundle
) -> None:
    """Although its blocks are few: shrunk to no correction, its intervals would have no width."""
    from hmx.splits import CALIBRATION, VALIDATION, Split

    split = Split.from_dict(first_stage.training["roles"])
    # so few validation blocks choose no epoch, and are calibrated on too
    ours = np.isin(split.roles(Window.of((96, 112))), (CALIBRATION, VALIDATION))
    inside, known = 0, 0
    for last in range(2, 6):
        seen = cube.isel(time=slice(0, last))
        fc = seen.hm.forecast(h=1, model=hmx.load(first_stage.path), level=80).isel(time=0)
        truth = cube["hm"].isel(time=last).values
        used = ours & np.isfinite(truth) & np.isfinite(fc["hm"].values)
        within = (fc["hm_lo_80"].values <= truth) & (truth <= fc["hm_hi_80"].values)
        inside, known = inside + int(within[used].sum()), known + int(used.sum())
    assert known > 1000
    assert inside / known == pytest.approx(0.8, abs=0.04)


def test_the_chance_of_more_than_a_threshold_agrees_with_the_intervals(
    cube: xr.Dataset, first_stage: hmx.Bundle
) -> None:
    model = hmx.load(first_stage.path)
    fc = cube.hm.forecast(h=1, model=model, quantiles=[0.2, 0.9], exceed=[0.15, 0.8]).compute()
    low, high = (fc["hm_quantile"].sel(quantile=q).values[0] for q in (0.2, 0.9))
    over, far = (fc["hm_exceedance"].sel(threshold=t).values[0] for t in (0.15, 0.8))
    likely, unlikely = low > 0.1501, high < 0.7999
    assert (over[likely] >= 0.79).all()
    assert (far[unlikely] <= 0.11).all()
    assert likely.sum() > 100
    assert unlikely.sum() > 100


def test_one_number_without_calibration_has_no_intervals(cube: xr.Dataset) -> None:
    model = cube.hm.train(static=["elevation"], **FIRST_STAGE | {"calibration": 0})
    with pytest.raises(BadArgument, match=r"no calibration.*Train it with calibration=0\.1"):
        cube.hm.forecast(h=1, model=model, level=80).compute()


def test_an_ensemble_of_numbers_is_their_mean() -> None:
    from hmx.uncertainty.mixing import mixture

    members = [np.full((2, 1, 3, 3), value) for value in (0.0, 0.1, 0.5)]
    np.testing.assert_allclose(mixture(members, (0.5,)), 0.2)


def test_a_network_of_one_number_has_no_anchor() -> None:
    assert ModelOptions().anchored
    for other in (
        {"knots": ()},
        {"predict": "state"},
        {"strategy": "recursive"},
        {"anchor": False},
    ):
        assert not ModelOptions(**other).anchored


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_gradients_do_not_depend_on_the_threads(cube: xr.Dataset, strategy: str) -> None:
    """Nor on how the chips of a batch are computed: alone, or all together as on a GPU."""
    options = {"knots": (0.1, 0.5, 0.9), "strategy": strategy, "arch": "convlstm", "hidden": 4}
    reader, batch = first_batch(cube, **options)
    torch.manual_seed(0)
    network, found = Forecaster.of(reader.spec, reader.scaler), []
    torch.nn.init.normal_(network.head.weight, std=0.1)
    weights, before = [*network.parameters()], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        value = loss(network, batch, reader.sizes)
        found.append((value.detach(), *torch.autograd.grad(value, weights, allow_unused=True)))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    together = losses.whole(network, batch, reader.sizes, Criterion())
    torch.testing.assert_close(together.detach(), found[0][0])
    for one, two in zip(torch.autograd.grad(together, weights), found[0][1:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_chips_share_the_precision_of_the_caller(
    cube: xr.Dataset, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    reader, batch = first_batch(cube)
    network, seen = Forecaster.of(reader.spec, reader.scaler), []
    forecast = network.one_step_forecasts

    def looked(*args: Any, **kwargs: Any) -> Any:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        seen.append((kind, torch.is_autocast_cache_enabled()))
        return forecast(*args, **kwargs)

    monkeypatch.setattr(network, "one_step_forecasts", looked)
    monkeypatch.setattr(losses, "forecast_pixels", lambda _, *args, **kw: looked(*args, **kw))
    structure = Criterion("mse+ssim", ssim=0.5)  # computes whole windows
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss(network, batch, reader.sizes, structure)
        loss(network, batch, reader.sizes, structure)
        with torch.no_grad():
            plain = loss(network, batch, reader.sizes, structure)
    finally:
        torch.set_num_threads(before)
    chips = len(batch.truth)
    assert seen == [(torch.bfloat16, False)] * chips + [(None, False)] * 2 * chips
    assert not plain.requires_grad


def test_the_thread_that_trains_starts_no_threads_besides_those_of_the_chips(
    cube: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of OpenMP keep a core busy for milliseconds after their work, as long as a chip."""
    reader, batch = first_batch(cube)
    network = Forecaster.of(reader.spec, reader.scaler)
    seen: list[int] = []
    count = losses.Counts.of

    def counted(batch: Batch) -> losses.Counts:
        seen.append(torch.get_num_threads())
        return count(batch)

    monkeypatch.setattr(losses.Counts, "of", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        loss(network, batch, reader.sizes, Criterion("mse"))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
