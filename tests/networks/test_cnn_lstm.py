"""Laws of the networks of the map job."""

from __future__ import annotations

import numpy as np
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
    "two layers": {"layers": 2},
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


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A 3 x 3 convolution of (c, y, x) with zeros around it, ReLU, and the largest of 2 x 2."""
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(weight), height, width)) + bias[:, None, None]
    for dy in range(3):
        for dx in range(3):
            part = padded[:, dy : dy + height, dx : dx + width]
            total += np.einsum("oc,cyx->oyx", weight[:, :, dy, dx], part)
    even = relu(total)[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(len(weight), height // 2, 2, width // 2, 2).max((2, 4))


def lstm_states(x: np.ndarray, weights: dict[str, np.ndarray], layer: int) -> np.ndarray:
    """States of one LSTM layer over (t, f); gates in torch's order: in, forget, cell, out."""

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    own = {name: weights[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh")}
    bias = weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]
    hidden = cell = np.zeros(own["weight_hh"].shape[1])
    states = []
    for step in x:
        gates = own["weight_ih"] @ step + own["weight_hh"] @ hidden + bias
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


@pytest.mark.parametrize("window", [5, 33])
def test_the_refitted_network_is_that_of_the_study(window: int) -> None:
    """The forward pass of the study, written in NumPy from its description, on copied weights."""
    options = MapperOptions(arch="refitted_covlstm", window=window)
    torch.manual_seed(0)
    made = build(options, dynamic=6, static=0, steps=5).double().eval()
    if window == 5:
        assert sum(weight.numel() for weight in made.parameters()) == 307_233
    w = {name: value.numpy() for name, value in made.state_dict().items()}
    x = np.random.default_rng(0).standard_normal((5, 6, window, window))
    features = []
    for step in x:
        maps = convolved(step, w["convs.0.weight"], w["convs.0.bias"])
        maps = convolved(maps, w["convs.3.weight"], w["convs.3.bias"])
        features.append(relu(w["fc_cnn.weight"] @ maps.ravel() + w["fc_cnn.bias"]))
    states = lstm_states(lstm_states(np.array(features), w, 0), w, 1)
    memory = relu(w["fc_lstm.weight"] @ states[-1] + w["fc_lstm.bias"])
    fused = np.concatenate([features[-1], memory])  # 128 of the convolutions, 64 of the LSTM
    hidden = relu(w["head.0.weight"] @ fused + w["head.0.bias"])
    want = w["head.2.weight"] @ hidden + w["head.2.bias"]
    with torch.no_grad():
        found = made(torch.from_numpy(x)[None], torch.zeros(1, 0, window, window).double())
    np.testing.assert_allclose(found[0].numpy(), want, rtol=0, atol=1e-6)
    assert abs(want[0] - w["head.2.bias"][0]) > 1e-3


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


def test_a_network_of_an_earlier_release_is_read_if_it_did_without_what_was_dropped() -> None:
    old = {**MapperOptions().model_dump(), "bidirectional": False, "attention": []}
    assert parse(MapperOptions, old) == MapperOptions()


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
        ({"bidirectional": True}, "bidirectional=True is an option of earlier releases"),
    ],
)
def test_impossible_networks_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        parse(MapperOptions, options)
