"""Laws of the registry: a new network is one class, and one that shows its tiles is refused."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hmx
from hmx import plugins
from hmx.errors import BadArgument, BundleError
from hmx.networks.base import Body, BodyCost, network
from hmx.networks.cost import footprint, per_pixel
from hmx.networks.dilated import Stacked
from hmx.networks.local import build_body
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.networks.registry import MAPPERS, NETWORKS
from hmx.settings import parse
from tests.make.cubes import make_bundle, make_cube, network_options
from tests.make.networks import KINDS, kinds_of
from tests.networks import test_forecaster as laws


class Layers(nn.Module):
    """A U-Net in which dilation stands for pooling: down, bottom, and up with a skip."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.outputs = width
        self.down = nn.Conv2d(inputs, width, 3, padding=1)
        self.bottom = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip = functional.silu(self.down(x))
        deep = functional.silu(self.bottom(skip))
        return functional.silu(self.up(torch.cat((skip, deep), dim=1)))


class UNet(Stacked):
    """All of a network that a user writes."""

    def __init__(self, options: ModelOptions, frame: int, constant: int):
        inputs = frame * options.past_steps + constant
        super().__init__(options.past_steps, Layers(inputs, options.width))

    @staticmethod
    def reach(options: ModelOptions, looks: int) -> int:
        return 4 * looks

    @staticmethod
    def cost(options: ModelOptions, frame: int, constant: int, looks: int) -> BodyCost:
        inputs, width = frame * options.past_steps + constant, options.width
        once = 9 * (inputs * width + width * width + 2 * width * width)
        return BodyCost(looks * once, width, 2 * width, max(inputs, 2 * width))


@pytest.fixture(autouse=True)
def unet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the network for one test, as no other test has it."""
    before = dict(NETWORKS.registered)
    # results of a session are remembered with their network, and are asked for facts later
    monkeypatch.setattr("hmx.engine.recall._recent", OrderedDict())
    network("toy_unet")(UNet)
    yield
    NETWORKS.registered.clear()
    NETWORKS.registered.update(before)


UNETS = {
    "direct": {"arch": "toy_unet", "trunk": (1, 2), "history": 2},
    "recursive": {"arch": "toy_unet", "strategy": "recursive", "trunk": (1,), "history": 2},
}
FIXED = {"h": 2, "learnt": 2, "limits": (0.2, 0.7), "weights": "random", "lead": 2}
EACH = [
    laws.test_influence_ends_at_the_reach,
    laws.test_a_pixel_at_the_reach_moves_the_forecast_and_one_beyond_does_not,
    laws.test_a_crop_is_the_crop_of_the_whole,
    laws.test_an_untrained_network_is_persistence,
    laws.test_knots_never_cross,
    laws.test_a_missing_pixel_hides_its_value,
    laws.test_fewer_leads_are_the_first_of_more,
    laws.test_what_is_known_ahead_moves_the_leads_it_can,
    laws.test_a_bundle_gives_back_each_member,
]


@pytest.mark.parametrize("strategy", UNETS)
@pytest.mark.parametrize("law", EACH, ids=lambda law: law.__name__)
def test_a_registered_network_obeys_the_laws(law: Callable[..., None], strategy: str) -> None:
    options = network_options(**kinds_of("toy_unet")[f"toy_unet, {strategy}"])
    given = {name: FIXED[name] for name in inspect.signature(law).parameters if name in FIXED}
    law(options=options, **given)


def test_every_built_in_network_is_under_the_laws() -> None:
    tested = {options.get("arch", "dilated") for options in KINDS.values()}
    assert tested >= set(NETWORKS.built_in)


@pytest.mark.parametrize("strategy", UNETS)
def test_tiles_of_a_registered_network_are_the_whole(strategy: str, tmp_path: Path) -> None:
    cube = make_cube((61, 47), steps=4)
    options = network_options(**UNETS[strategy], context=(), terrain=())
    bundle = make_bundle(cube, options, valid_range=None).save(tmp_path / "model")
    one, other = (
        cube.hm.forecast(h=2, model=bundle, tile=tile, precision="float64")["hm"].values
        for tile in (32, 128)
    )
    assert np.nanmax(np.abs(one - other)) <= 1e-13


def test_a_registered_network_trains_saves_loads_and_forecasts(tmp_path: Path) -> None:
    cube = make_cube((64, 64))
    trained = cube.hm.train(
        static=["elevation"], arch="toy_unet", width=4, history=2, context=[], epochs=1, steps=2,
        chip=32, h=2, final=False, out=tmp_path / "m",
    )  # fmt: skip
    loaded = hmx.load(tmp_path / "m")
    assert loaded.spec.network.arch == "toy_unet"
    assert loaded.digest == trained.digest
    forecast = cube.hm.forecast(h=2, model=loaded, tile=32)
    whole = cube.hm.forecast(h=2, model=loaded, tile=128)
    assert np.isfinite(forecast["hm"].values).any()
    np.testing.assert_allclose(forecast["hm"].values, whole["hm"].values, rtol=0, atol=1e-6)


def test_a_bundle_of_an_unknown_network_lists_those_that_exist(tmp_path: Path) -> None:
    make_bundle(make_cube(), network_options(**UNETS["direct"])).save(tmp_path / "m")
    NETWORKS.registered.clear()
    with pytest.raises(BundleError, match=r"arch='toy_unet': must be 'convlstm'.* 'dilated'"):
        hmx.load(tmp_path / "m")


def test_a_cost_follows_from_the_class_alone() -> None:
    options = network_options(**UNETS["direct"])
    assert per_pixel(options, (0, 2, 0), h=3) > 0
    small, large = (footprint(options, (0, 2, 0), (side, side), h=3) for side in (64, 128))
    assert large > 2 * small


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dilate", r"arch='dilate': must be 'convlstm', 'dilated'.* or 'toy_unet'. Did you mean"),
        ("gpt", r"arch='gpt': must be 'convlstm', 'dilated'.* or 'toy_unet'\."),
    ],
)
def test_an_unknown_name_lists_the_known_ones(name: str, text: str) -> None:
    with pytest.raises(BadArgument, match=text):
        parse(ModelOptions, {"arch": name})
    with pytest.raises(BadArgument, match="must be 'cnn_lstm' or 'refitted_covlstm'"):
        parse(MapperOptions, {"arch": name})


class Bad(UNet):
    """A U-Net with one module or function more."""

    extra: Any = None

    def features(self, state: list[Tensor], constant: Tensor) -> Tensor:
        return type(self).extra(super().features(state, constant))


def pooled(x: Tensor) -> Tensor:
    return functional.interpolate(functional.max_pool2d(x, 2, ceil_mode=True), x.shape[-2:])


def seesaw(x: Tensor) -> Tensor:
    return x + torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)


MODULES = {
    "MaxPool2d": lambda w: nn.MaxPool2d(3, 1, 1),
    "AvgPool2d": lambda w: nn.AvgPool2d(2),
    "AdaptiveAvgPool2d": lambda w: nn.AdaptiveAvgPool2d(1),
    "Upsample": lambda w: nn.Upsample(scale_factor=2),
    "PixelShuffle": lambda w: nn.PixelShuffle(2),
    "BatchNorm2d": nn.BatchNorm2d,
    "InstanceNorm2d": nn.InstanceNorm2d,
    "GroupNorm": lambda w: nn.GroupNorm(1, w),
    "LayerNorm": lambda w: nn.LayerNorm((w, 32, 32)),
    "MultiheadAttention": lambda w: nn.MultiheadAttention(w, 1),
    "TransformerEncoderLayer": lambda w: nn.TransformerEncoderLayer(w, 1),
    "Conv2d": lambda w: nn.Conv2d(w, w, 3, stride=2),
    "ConvTranspose2d": lambda w: nn.ConvTranspose2d(w, w, 2, stride=2),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_would_show_tiles_is_refused_by_name(name: str) -> None:
    def build(self: Any, options: ModelOptions, frame: int, constant: int) -> None:
        UNet.__init__(self, options, frame, constant)
        self.trunk.extra = MODULES[name](options.width)

    network("bad")(type("BadModule", (UNet,), {"__init__": build}))
    with pytest.raises(BadArgument, match=rf"network 'bad' contains {name} \(trunk.extra\): "):
        build_body(network_options(arch="bad"), 3, 2)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (pooled, "sees 5 px or more, and BadCall.reach"),
        (seesaw, "gives a pixel another result"),
        (lambda x: x - x.mean((-2, -1), keepdim=True), "sees 7 px or more, and BadCall.reach"),
        (functional.instance_norm, "sees 7 px or more"),
        (lambda x: functional.avg_pool2d(x, 3, 1, 1), "sees 5 px or more, and BadCall.reach"),
        (lambda x: x[..., 1:-1, 1:-1], r"makes \(13, 13\) px of \(15, 15\)"),
    ],
    ids=["pooling", "coordinates", "mean", "norm", "reach", "size"],
)
def test_a_function_that_would_show_tiles_is_refused(
    function: Callable[[Tensor], Tensor], text: str
) -> None:
    network("bad")(type("BadCall", (Bad,), {"extra": staticmethod(function)}))
    with pytest.raises(BadArgument, match=text):
        build_body(network_options(arch="bad"), 3, 2)


def test_pooling_inside_a_generous_reach_is_refused() -> None:
    generous = {"extra": staticmethod(pooled), "reach": staticmethod(lambda options, looks: 9)}
    network("bad")(type("Generous", (Bad,), generous))
    with pytest.raises(BadArgument, match="result where its tile starts one pixel earlier"):
        build_body(network_options(arch="bad"), 3, 2)


def test_a_trial_run_changes_no_seed_and_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    features = UNet.features
    monkeypatch.setattr(UNet, "features", lambda *a: runs.append(1) or features(*a))
    options = network_options(arch="toy_unet", width=7)
    torch.manual_seed(3)
    first = build_body(options, 3, 2)
    made = len(runs)
    torch.manual_seed(3)
    again = build_body(options, 3, 2)
    assert made > 0
    assert len(runs) == made
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_class_without_all_its_parts_is_no_network() -> None:
    with pytest.raises(BadArgument, match=r"Part has no push\(\)"):
        network("part")(type("Part", (Body,), {}))
    with pytest.raises(BadArgument, match="Plain is not a Body"):
        network("part")(type("Plain", (nn.Module,), {}))  # type: ignore[type-var]


@pytest.mark.parametrize("name", ["dilated", "toy_unet"])
def test_a_name_means_one_network(name: str) -> None:
    with pytest.raises(BadArgument, match=f"arch='{name}' is .*another name"):
        network(name)(type("Other", (UNet,), {}))


class Entry(SimpleNamespace):
    """An entry point of an installed package."""

    def load(self) -> Any:
        return self.loads()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Install a package that offers the network ``diffuse``."""

    def install(loads: Callable[[], Any]) -> None:
        entry = Entry(
            name="diffuse", value="them:Net", dist=SimpleNamespace(name="them"), loads=loads
        )
        found = {"hmx.networks": [entry]}
        monkeypatch.setattr(plugins, "entry_points", lambda group: found.get(group, []))
        plugins.offered.cache_clear()

    yield install
    plugins.offered.cache_clear()


def test_a_network_of_a_package_is_known_by_name_and_loaded_when_built(plugin: Any) -> None:
    loaded: list[type[Body]] = []

    def load() -> type[Body]:
        loaded.append(network("diffuse")(type("Diffuse", (UNet,), {})))
        return loaded[0]

    plugin(load)
    options = network_options(arch="diffuse")
    assert not loaded
    assert type(build_body(options, 3, 2)) is loaded[0]
    assert NETWORKS.names() == (*NETWORKS.built_in, "toy_unet", "diffuse")


def test_a_broken_package_is_named(plugin: Any) -> None:
    def load() -> Any:
        raise ImportError("no module named 'missing'")

    plugin(load)
    with pytest.raises(BadArgument, match=r"the package 'them' .* cannot be loaded: Imp"):
        build_body(network_options(arch="diffuse"), 3, 2)
    plugin(lambda: UNet)
    with pytest.raises(BadArgument, match="is not registered under this name"):
        build_body(network_options(arch="diffuse"), 3, 2)


def test_built_in_names_read_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins.offered.cache_clear()
    monkeypatch.setattr(plugins, "entry_points", lambda group: pytest.fail("read"))
    assert parse(ModelOptions, {"arch": "convlstm"}).arch == "convlstm"
    assert MAPPERS.require("cnn_lstm") == "cnn_lstm"
