"""Laws of the networks of the map job."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmx.errors import BadArgument
from hmx.networks.cnn_lstm import CnnLstm, Mapper, build
from hmx.networks.options import MapperOptions
from hmx.settings import parse

STEPS, DYNAMIC, STATIC = 4, 3, 2
KINDS = {
    "default": {},
    "one pixel": {"window": 1},
    "one layer": {"window": 9, "widths": (8,), "skip": False},
    "pooled": {"window": 17, "widths": (6, 6, 8), "pool": (1, 2)},
    "attention": {"attention": ("temporal", "spatial"), "bidirectional": True, "layers": 2},
    "quantiles": {"knots": (0.1, 0.5, 0.9)},
}


def network(seed: int = 0, **options: object) -> Mapper:
    """A network of float64 in which everything counts: no weight is zero."""
    torch.manual_seed(seed)
    made = build(parse(MapperOptions, options), dynamic=DYNAMIC, static=STATIC, steps=STEPS)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made.double().eval()


def tile(height: int, width: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    dynamic = torch.randn(1, STEPS, DYNAMIC, height, width, dtype=torch.float64)
    return dynamic, torch.randn(1, STATIC, height, width, dtype=torch.float64)


def test_the_refitted_network_has_the_parameters_of_the_study() -> None:
    options = MapperOptions(arch="refitted_covlstm")
    made = build(options, dynamic=6, static=0, steps=5)
    assert sum(weight.numel() for weight in made.parameters()) == 307_233
    assert made(torch.randn(2, 5, 6, 5, 5), torch.randn(2, 0, 5, 5)).shape == (2, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_seen_at_once_gives_each_pixel_what_its_window_gives(kind: str) -> None:
    made = network(**KINDS[kind])
    assert isinstance(made, CnnLstm)
    side = made.options.window
    dynamic, static = tile(side + 3, side + 2)
    features = made.features(dynamic, static, dense=True)[0].permute(2, 3, 0, 1)
    centre = made.centre(dynamic, static)[0].permute(1, 2, 0)
    assert features.shape[:2] == centre.shape[:2] == (4, 3)
    at_once = made.read(features.flatten(0, 1), centre.flatten(0, 1))
    windows = [
        made(dynamic[..., y : y + side, x : x + side], static[..., y : y + side, x : x + side])
        for y in range(4)
        for x in range(3)
    ]
    assert at_once.std() > 1e-3
    torch.testing.assert_close(at_once, torch.cat(windows), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [*KINDS, "refitted"])
def test_every_pixel_and_step_of_a_window_counts(kind: str) -> None:
    made = network(**KINDS.get(kind, {"arch": "refitted_covlstm"}))
    dynamic, static = tile(made.options.window, made.options.window)
    moved = torch.zeros_like(dynamic[0, :, 0])
    for _ in range(20):  # ReLU and max-pooling hide some pixels of any one window
        dynamic, static = torch.randn_like(dynamic), torch.randn_like(static)
        (slope,) = torch.autograd.grad(made(dynamic.requires_grad_(), static).sum(), dynamic)
        moved = moved + slope[0].abs().sum(dim=1)
    if kind == "refitted":  # pooling 5 px by 2 drops the last, but what it adds to others counts
        assert (moved[..., :4, :4] > 0).all()
    else:
        assert (moved > 0).all()


def test_static_bands_once_are_static_bands_of_every_step() -> None:
    made = network()
    dynamic, static = tile(5, 5)
    repeated = torch.cat((dynamic, static.unsqueeze(1).expand(-1, STEPS, -1, -1, -1)), dim=2)
    assert isinstance(made, CnnLstm)
    first = made.convs[0]
    want = torch.nn.functional.conv2d(repeated[0], first.weight, first.bias)
    torch.testing.assert_close(made.first_layer(dynamic, static), want)


@pytest.mark.parametrize("arch", ["cnn_lstm", "refitted_covlstm"])
def test_either_kind_of_band_may_be_absent(arch: str) -> None:
    dynamic, static = torch.randn(4, STEPS, DYNAMIC, 5, 5), torch.randn(4, STATIC, 5, 5)
    for series, planes in ((dynamic[:, :, :0], static), (dynamic, static[:, :0])):
        torch.manual_seed(0)
        channels = {"dynamic": series.shape[2], "static": planes.shape[1]}
        made = build(MapperOptions(arch=arch), steps=STEPS, **channels)
        values = made(series, planes)
        assert values.shape == (4, 1)
        assert values.std() > 1e-3


def test_an_untrained_skip_adds_nothing() -> None:
    made = build(MapperOptions(), dynamic=DYNAMIC, static=STATIC, steps=STEPS)
    assert not made.skip.weight.any()
    assert not made.skip.bias.any()


@pytest.mark.parametrize("arch", ["cnn_lstm", "refitted_covlstm"])
def test_quantiles_never_cross_whatever_the_weights(arch: str) -> None:
    made = network(arch=arch, knots=(0.05, 0.25, 0.5, 0.75, 0.95))
    torch.manual_seed(0)
    dynamic = torch.randn(50, STEPS, DYNAMIC, 5, 5, dtype=torch.float64)
    values = made(dynamic, torch.randn(50, STATIC, 5, 5, dtype=torch.float64))
    assert values.shape == (50, 5)
    assert (values.diff(dim=1) >= 0).all()


def test_the_order_of_steps_matters() -> None:
    made = network(skip=False)
    dynamic, static = tile(5, 5)
    assert not torch.allclose(made(dynamic, static), made(dynamic.flip(1), static))


def test_options_of_a_network_survive_being_written_down() -> None:
    for options in ({}, {"arch": "refitted_covlstm"}, {"window": 17, "pool": (1,)}):
        made = MapperOptions(**options)
        assert MapperOptions(**made.model_dump()) == made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 4}, "a window has a centre, so its side is odd. Try 5."),
        ({"widths": []}, "a network has at least one convolution"),
        ({"pool": [1, 2]}, r"pool=\[1, 2\] leaves nothing of window=5 after convolution 2"),
        ({"window": 9, "pool": [5]}, r"pool=\[5\] names a convolution beyond the 3"),
        ({"knots": [0.1, 0.9]}, "with 0.5 among them"),
        ({"arch": "refitted_covlstm", "hidden": 64}, "hidden of arch='refitted_covlstm' is 128"),
        ({"arch": "refitted_covlstm", "window": 3}, "leaves nothing of it. Try window=5"),
        ({"arch": "transformer"}, "arch='transformer'"),
    ],
)
def test_impossible_networks_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        parse(MapperOptions, options)
