"""Laws of the networks themselves, of every kind."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from hmx.errors import BundleError
from hmx.networks.forecaster import Channels, Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import ModelOptions
from hmx.uncertainty.distribution import mean, settle
from hmx.windows import Span, Window
from tests.make.cubes import make_bundle, make_cube, network_options
from tests.make.networks import KINDS, changed, network_of, options_of, plain, window

MORE = {
    "one step of history": ("convlstm, direct, shared", {"history": 1, "layers": 1}),
    "wide kernel": ("convlstm, recursive, streamed", {"kernel": 5, "dilation": (2, 1)}),
    "deep": ("convlstm, recursive, streamed", {"layers": 3, "dilation": (2, 1, 1)}),
    "far": ("dilated, direct, shared", {"trunk": (1, 3)}),
    "one number": ("dilated, direct, shared", {"knots": ()}),
    "state": ("dilated, direct, separate", {"predict": "state"}),
    "state, shared": ("dilated, direct, shared", {"predict": "state"}),
    "state, recursive": ("dilated, recursive", {"predict": "state"}),
}
ALL = {kind: options_of(kind) for kind in KINDS} | {
    name: options_of(kind, **changes) for name, (kind, changes) in MORE.items()
}
each_kind = pytest.mark.parametrize("options", ALL.values(), ids=ALL)


def of_strategy(strategy: str) -> pytest.MarkDecorator:
    chosen = {name: o for name, o in ALL.items() if o.strategy == strategy}
    return pytest.mark.parametrize("options", chosen.values(), ids=chosen)


recursive, direct = of_strategy("recursive"), of_strategy("direct")


def of_what(predict: str) -> pytest.MarkDecorator:
    chosen = {name: o for name, o in ALL.items() if o.predict == predict}
    return pytest.mark.parametrize("options", chosen.values(), ids=chosen)


residual, absolute = of_what("change"), of_what("state")


@each_kind
@pytest.mark.parametrize(("h", "learnt"), [(1, 3), (2, 3), (3, 3), (2, 1), (3, 1), (3, 2)])
def test_influence_ends_at_the_reach(options: ModelOptions, h: int, learnt: int) -> None:
    """By gradients: impulses so small that no rounding can swallow them."""
    network, far = network_of(options, leads=learnt), reach(options, h, learnt)
    # a network that runs again on fewer means than it has steps does not look as far in each run
    exact = options.strategy == "recursive" or h <= learnt or learnt >= options.past_steps
    size, middle = 2 * far + 5, far + 2
    seen = window((size, size), options.past_steps, holes=False)
    past, static = seen.past[None].requires_grad_(), seen.static[None].requires_grad_()
    batch = NetworkInputs(*(tensor[None] for tensor in seen))._replace(past=past, static=static)
    network(batch, h=h)[0, -1, :, middle, middle].sum().backward()
    for given in (past, static):
        assert given.grad is not None
        touched = given.grad[0].abs().sum(dim=0)
        rim = torch.nonzero(touched).sub(middle).abs().max()
        assert int(rim) <= far
        if given is past and exact:
            assert int(rim) == far
            assert float(touched[middle - far, middle]) > 0
            assert float(touched[middle, middle + far]) > 0


@each_kind
@pytest.mark.parametrize("h", [1, 2])
def test_a_pixel_at_the_reach_moves_the_forecast_and_one_beyond_does_not(
    options: ModelOptions, h: int
) -> None:
    network, far = network_of(options), reach(options, h)
    size, middle = 2 * far + 5, far + 2
    seen = window((size, size), options.past_steps, holes=False)
    before, moved = plain(network, seen, h)[..., middle, middle], {}
    for distance in (far, far + 1):
        past = seen.past.clone()
        past[0, middle - distance, middle] += 0.5  # oldest step: the longest way
        after = plain(network, seen._replace(past=past), h)[..., middle, middle]
        moved[distance] = (after - before).abs()
    assert moved[far][-1].max() > 0, "a pixel at the reach must move the last lead"
    assert (moved[far + 1] == 0).all(), "a pixel beyond the reach must not"


@recursive
@pytest.mark.parametrize("lead", [1, 2, 3])
def test_each_lead_that_is_fed_back_has_its_own_reach(options: ModelOptions, lead: int) -> None:
    network, far = network_of(options), reach(options, lead)
    seen = window((2 * far + 5, 2 * far + 5), options.past_steps, holes=False)
    past = seen.past.clone()
    past[0, 1, far + 2] += 0.5  # at distance far + 1
    moved = (plain(network, seen._replace(past=past), 3) - plain(network, seen, 3)).abs()
    moved = moved[..., far + 2, far + 2].amax(dim=1)
    assert (moved[:lead] == 0).all()
    assert lead == 3 or moved[lead] > 0


@direct
def test_direct_leads_share_one_reach(options: ModelOptions) -> None:
    assert reach(options, 1) == reach(options, 7)


@each_kind
def test_a_crop_is_the_crop_of_the_whole(options: ModelOptions) -> None:
    network, seen = network_of(options), window((17, 19), options.past_steps)
    crop = Window(Span(3, 9), Span(5, 19))
    cut = plain(network, seen, 3, crop)
    assert float((cut - plain(network, seen, 3)[(..., *crop.slices)]).abs().max()) <= 1e-14


@residual
def test_an_untrained_network_is_persistence(options: ModelOptions) -> None:
    """Its median is the origin exactly; its mean is, but where a bound is nearer than its tail."""
    network = network_of(options, limits=(0.0, 1.0), weights="untrained")
    seen = window((20, 20), options.past_steps, dtype=torch.float64)
    seen.past[-1, :5] = 0.0
    origin = seen.past[-1].numpy()
    knots = plain(network, seen, 3).numpy()
    knots = settle(knots, origin, tolerance=1e-4, valid_range=(0.0, 1.0))
    np.testing.assert_array_equal(knots[:, network.middle], np.stack([origin] * 3))
    middle, tail = mean(knots, network.knots), 0.05 * 8 * 0.0182 * 3
    away = (origin > tail) & (origin < 1 - tail)
    assert away.mean() > 0.3
    np.testing.assert_allclose(middle[:, away], np.stack([origin[away]] * 3), rtol=0, atol=1e-12)
    assert np.abs(middle - origin).max() <= tail


@absolute
def test_an_untrained_network_of_the_state_is_the_mean_of_the_training_data(
    options: ModelOptions,
) -> None:
    """At every pixel and lead, whatever the last map; and it adds up no states over leads."""
    network = network_of(options, weights="untrained")
    seen = window((9, 9), options.history, dtype=torch.float64, holes=False)
    middle = plain(network, seen, 3)[:, network.middle]
    np.testing.assert_allclose(middle.numpy(), network.scale.mean, rtol=0, atol=1e-12)
    with torch.no_grad():
        network.head.bias.view(-1, len(network.knots))[:, network.middle] = 0.5
    middle = plain(network, seen, 3)[:, network.middle]
    np.testing.assert_allclose(middle, network.scale.mean + 0.5 * network.scale.std, atol=1e-12)


@residual
def test_an_untrained_network_stays_put_where_the_data_have_steps(options: ModelOptions) -> None:
    """A spread of less than half a step of the data becomes 0."""
    network = network_of(options, limits=(0.0, 1.0), weights="untrained")
    seen = window((20, 20), options.past_steps)
    origin = seen.past[-1].numpy()
    knots = settle(plain(network, seen, 3).numpy(), origin, tolerance=0.05)
    np.testing.assert_array_equal(knots, np.broadcast_to(origin, knots.shape))


@each_kind
@pytest.mark.parametrize("limits", [(None, None), (0.2, 0.7)])
@pytest.mark.parametrize("weights", ["positive", "random"])
def test_knots_never_cross(options: ModelOptions, limits: tuple, weights: str) -> None:
    network = network_of(options, limits=limits, weights=weights)
    knots = plain(network, window((15, 14), options.past_steps), 3)
    assert (knots.diff(dim=1) >= 0).all()
    if limits[0] is not None:
        assert float(knots.min()) >= limits[0]
        assert float(knots.max()) <= limits[1]


@each_kind
def test_a_missing_pixel_hides_its_value(options: ModelOptions) -> None:
    network = network_of(options)
    seen = window((15, 15), options.past_steps, holes=False)
    seen.valid[..., 7, 7] = 0
    seen.past[:, 7, 7] = torch.linspace(0.9, 0.2, options.past_steps)  # neither value nor change
    other = seen.past.clone()
    other[..., 7, 7] = 0.0
    ahead = [plain(network, seen._replace(past=p), 3) for p in (seen.past, other)]
    away = torch.ones((15, 15), dtype=torch.bool)
    away[7, 7] = False
    assert torch.equal(ahead[0][..., away], ahead[1][..., away])


@pytest.mark.parametrize("arch", ["dilated", "convlstm"])
@pytest.mark.parametrize("trunk", [(), (1,)])
def test_rehearsals_are_the_forecasts_of_a_shorter_history(arch: str, trunk: tuple) -> None:
    trunk = trunk or ((1, 2) if arch == "dilated" else ())
    options = network_options(arch=arch, strategy="recursive", trunk=trunk, history=3)
    network, seen = network_of(options), window((12, 12), 3)
    with torch.inference_mode():
        _, rehearsed = network.one_step_forecasts(
            NetworkInputs(*(tensor[None] for tensor in seen)), h=1
        )
    assert len(rehearsed) == 2
    if arch == "convlstm":
        shorter = seen._replace(past=seen.past[:2], valid=seen.valid[:2], dynamic=seen.dynamic[:2])
    else:  # sees three steps, the first of which is not there
        zero = torch.zeros((1, 12, 12), dtype=seen.past.dtype)
        shorter = seen._replace(
            past=torch.cat((zero, seen.past[:2])), valid=torch.cat((zero, seen.valid[:2]))
        )
    np.testing.assert_allclose(
        rehearsed[1][0].numpy(), plain(network, shorter, 1)[0].numpy(), rtol=0, atol=1e-14
    )


@direct
def test_a_direct_network_rehearses_nothing(options: ModelOptions) -> None:
    network, seen = network_of(options), window((9, 9), options.past_steps)
    batch = NetworkInputs(*(tensor[None] for tensor in seen))
    with torch.inference_mode():
        ahead, rehearsed = network.one_step_forecasts(batch, h=2)
        assert torch.equal(ahead, network(batch, h=2))
    assert rehearsed == []


@each_kind
def test_fewer_leads_are_the_first_of_more(options: ModelOptions) -> None:
    network, seen = network_of(options), window((12, 11), options.past_steps)
    longer = plain(network, seen, 3)
    for h in (1, 2):
        assert torch.equal(plain(network, seen, h), longer[:h])
    assert float((longer[1:] - longer[:-1]).abs().max()) > 0, "leads must differ to be compared"


@each_kind
def test_what_is_known_ahead_moves_the_leads_it_can(options: ModelOptions) -> None:
    """A direct network sees all of it at once; fed back, a step moves its lead and later ones."""
    channels = Channels(dynamic=2, static=2, ahead=1)
    network = network_of(options, channels)
    seen = window((11, 11), options.past_steps, channels)
    before = plain(network, seen, 3)
    for step in range(3):
        ahead = seen.ahead.clone()
        ahead[step] += 1.0
        moved = (plain(network, changed(seen, ahead=ahead), 3) - before).abs().amax((1, 2, 3)) > 0
        first = 0 if options.strategy == "direct" else step
        assert moved.tolist() == [lead >= first for lead in range(3)]


@direct
@pytest.mark.parametrize("learnt", [1, 2, 3])
def test_a_direct_network_goes_on_from_its_own_means(options: ModelOptions, learnt: int) -> None:
    """By hand: the second run, minus its origin, is added to the last lead of the first, by knot.

    One dynamic covariate is known ahead and moves on, the other and the validity stay.
    """
    channels = Channels(dynamic=3, static=2, ahead=1)
    network = network_of(options, channels, leads=learnt)
    seen = window((11, 12), options.past_steps, channels, h=2 * learnt + 1)
    h, steps = 2 * learnt, options.past_steps
    first, alive = plain(network, seen, learnt), seen.valid[-1]
    means = torch.from_numpy(mean(first.numpy(), options.knots))
    own = torch.cat((seen.ahead[:learnt], seen.dynamic[-1:, 1:].expand(learnt, -1, -1, -1)), dim=1)
    moved = changed(
        seen,
        past=torch.cat((seen.past, means * alive))[-steps:],
        valid=torch.cat((seen.valid, alive.expand_as(means)))[-steps:],
        dynamic=torch.cat((seen.dynamic, own))[-steps:],
        ahead=seen.ahead[learnt:],
    )
    second = first[-1] + (plain(network, moved, learnt) - means[-1])
    both = plain(network, seen, h)
    np.testing.assert_allclose(both, torch.cat((first, second)), rtol=0, atol=1e-12)
    for crop in (Window(Span(2, 9), Span(3, 11)), Window(Span(0, 11), Span(5, 6))):
        cut = plain(network, seen, h, crop)
        np.testing.assert_allclose(cut, both[(..., *crop.slices)], rtol=0, atol=1e-12)
    longer = plain(network, seen, 3 * learnt + 1)
    np.testing.assert_array_equal(longer[:h], both)
    gaps = longer.diff(dim=1)
    assert (gaps[learnt:] >= gaps[learnt - 1] - 1e-12).all(), "no gap shrinks"


def test_covariates_known_ahead_keep_their_last_value_after_the_last_known_lead() -> None:
    options, channels = options_of("dilated, direct, shared"), Channels(2, 2, 1)
    network = network_of(options, channels, leads=2)
    seen = window((9, 9), options.past_steps, channels, h=3)
    repeated = seen.ahead[[0, 1, 2, 2, 2]]
    short, long = (plain(network, seen._replace(ahead=a), 5) for a in (seen.ahead, repeated))
    assert torch.equal(short, long)


@pytest.mark.parametrize("arch", ["dilated", "convlstm"])
def test_a_recursive_model_goes_beyond_its_leads(arch: str) -> None:
    cube = make_cube()
    network = network_options(arch=arch, strategy="recursive")
    fc = cube.hm.forecast(h=5, model=make_bundle(cube, network, h=2)).load()
    assert fc.sizes["time"] == 5
    for early, late in pairwise(fc["hm"].values):
        assert np.nanmean(late) > np.nanmean(early), "positive weights push upward"


def test_dilation_reaches_farther_with_the_same_weights() -> None:
    near, far = (options_of("convlstm, recursive, streamed", dilation=d) for d in ((1, 1), (1, 4)))
    assert reach(far, 4) > 2 * reach(near, 4)
    shapes = [
        {k: w.shape for k, w in make_bundle(make_cube(), o).weights.items()} for o in (near, far)
    ]
    assert shapes[0] == shapes[1]


@each_kind
def test_a_bundle_gives_back_each_member(options: ModelOptions) -> None:
    bundle = make_bundle(make_cube(), options, weights="random", members=2)
    for member in (0, 1):
        network = Forecaster.load(bundle, member)
        for name, tensor in network.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), bundle.weights[f"{member}.{name}"])
    with pytest.raises(BundleError, match="lacks the weight"):
        Forecaster.load(bundle, 2)
