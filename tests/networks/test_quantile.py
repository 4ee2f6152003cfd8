"""Laws of the tilt: distributions whose means come near a target."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmx.networks.options import KNOTS
from hmx.networks.quantile import mean, parts, tilt
from hmx.uncertainty.distribution import shares
from tests.make.cubes import network_options
from tests.make.networks import network_of, plain, window

SHARE = torch.tensor(shares(KNOTS), dtype=torch.float64)[:, None, None]


def spreads(side: int = 24, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Quantile functions of all sorts around their origins, (q, y, x) and (y, x)."""
    draw = torch.Generator().manual_seed(seed)
    shape = (len(KNOTS), side, side)
    values = torch.randn(shape, generator=draw, dtype=torch.float64).sort(dim=0).values
    values = values * torch.rand((side, side), generator=draw, dtype=torch.float64)
    values = values + torch.randn((side, side), generator=draw, dtype=torch.float64)  # one-sided
    values[4:11, :5] = 0.0  # no change at some knots
    return 0.05 * values.sort(dim=0).values + 0.3, torch.full(
        (side, side), 0.3, dtype=torch.float64
    )


def sides(values: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """What the mean owes to values above the origin, and to those below."""
    residual = values - origin
    return ((residual.clamp(min=0) * SHARE).sum(0), (-residual.clamp(max=0) * SHARE).sum(0))


@pytest.mark.parametrize("want", [-0.2, -0.01, 0.0, 0.01, 0.2])
def test_the_mean_is_the_target_or_the_nearest_that_a_factor_of_two_gives(want: float) -> None:
    values, origin = spreads()
    up, down = sides(values, origin)
    low, high = up / 2 - 2 * down, 2 * up - down / 2
    target = origin + want
    found = mean(tilt(values, origin, target, KNOTS), KNOTS) - origin
    inside = (low < want) & (want < high)
    assert abs(want) > 0.1 or inside.any()
    assert abs(want) < 0.1 or not inside.all()
    torch.testing.assert_close(found, (target - origin).clamp(low, high), rtol=0, atol=1e-8)


def test_a_network_can_hold_its_means_at_the_last_map() -> None:
    """Whatever its weights say, as far as there are values on both sides."""
    options = network_options(anchor=True, history=2)
    network = network_of(options, weights="random")
    network.anchor_size.zero_()  # as it is before a fit
    seen = window((12, 12), 2)
    free = plain(network, seen, 3)
    network.hold_means()
    held, origin = plain(network, seen, 3), seen.past[-1]
    both = ((free > origin).any(1) & (free < origin).any(1)).all(0)
    assert both.any()
    off = [(mean(knots, network.knots) - origin)[:, both].abs().max() for knots in (held, free)]
    assert off[0] < 1e-3 * off[1]


@pytest.mark.parametrize("want", [-0.2, 0.003, 0.2])
def test_a_tilt_keeps_order_and_no_change(want: float) -> None:
    values, origin = spreads()
    made = tilt(values, origin, origin + want, KNOTS)
    assert (made.diff(dim=0) >= 0).all()
    still = values == origin
    assert still.any()
    assert torch.equal(made == origin, still)
    assert torch.equal((made - origin).sign(), (values - origin).sign())


def test_gaps_can_be_none_and_are_open_at_first() -> None:
    """A point mass is exact: where a network closes a gap, two knots are one."""
    raw = torch.tensor([0.0, 0.0, -1.0])[:, None, None]
    first, centre, closed = parts(raw, 1).flatten().tolist()
    assert first > 0, "or nothing would ever be learnt"
    assert (centre, closed) == (0.0, 0.0)


def test_a_certain_persistence_cannot_be_tilted() -> None:
    origin = torch.full((3, 3), 0.3)
    values = origin.expand(len(KNOTS), 3, 3)
    for want in (-1.0, 0.0, 1e-9, 1.0):
        assert torch.equal(tilt(values, origin, origin + want, KNOTS), values)


def test_a_tilt_to_its_own_mean_moves_nothing() -> None:
    values, origin = spreads()
    made = tilt(values, origin, mean(values, KNOTS), KNOTS)
    torch.testing.assert_close(made, values, rtol=0, atol=1e-9)


def test_values_follow_the_target_without_a_jump() -> None:
    """No value moves faster than the slope of the formula, from one clamp to the other."""
    values, origin = spreads(8)
    up, down = sides(values, origin)
    step = 1e-4
    wants = torch.arange(-0.3, 0.3, step, dtype=torch.float64)
    made = torch.stack([tilt(values, origin, origin + want, KNOTS) for want in wants])
    steepest = (values - origin).abs().amax(0) * 4 / (up + down).clamp(min=1e-9)
    assert made.diff(dim=0).abs().amax() > 0
    assert (made.diff(dim=0).abs().amax(dim=(0, 1)) <= 1.01 * step * steepest + 1e-9).all()


def test_values_follow_a_spread_down_to_none() -> None:
    """What is nearly certain is moved by no more than its own width."""
    values, origin = spreads(8)
    for size in 10.0 ** -torch.arange(13):
        small = origin + (values - origin) * size
        moved = tilt(small, origin, origin + 0.01, KNOTS) - small
        assert (moved.abs().amax(0) <= 1.01 * (small - origin).abs().amax(0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("want", [-0.5, 0.0, 1e-8, 0.5])
def test_gradients_are_finite_everywhere(dtype: torch.dtype, want: float) -> None:
    values, origin = (part.to(dtype) for part in spreads(8))
    values[:, 5:] = origin[5:]  # certain
    values[:7, :5, 5:] = origin[:5, 5:]  # nothing below, or next to nothing above
    values[7:, :5, 6:] = origin[:5, 6:] + 1e-12
    target = (origin + want).requires_grad_()
    tilt(values.requires_grad_(), origin, target, KNOTS).square().sum().backward()
    assert values.grad is not None
    assert target.grad is not None
    assert torch.isfinite(values.grad).all()
    assert torch.isfinite(target.grad).all()


def test_gradients_are_those_of_the_formula() -> None:
    values, origin = spreads(3)
    target = mean(values, KNOTS) + 0.002 * torch.randn((3, 3)).double()
    given = (values + 1e-4, origin, target)  # away from the corner at the origin
    for tensor in given:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda *parts: tilt(*parts, KNOTS), given)
