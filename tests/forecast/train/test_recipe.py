"""Laws of the plan of a training: chips and context fit network and raster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from hmx.cube.cube import as_cube
from hmx.errors import BadArgument
from hmx.forecast.options import TrainOptions, split_fitting
from hmx.forecast.train import fitting
from hmx.forecast.train.data import Chips, Draw
from hmx.forecast.train.losses import loss
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, chip_of, heads_apart, plan
from hmx.forecast.train.train import facts
from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.options import ModelOptions
from hmx.networks.registry import NETWORKS
from hmx.progress import Progress
from tests.make.cubes import make_cube, make_spec

PAIRS = [(arch, how) for arch in NETWORKS.names() for how in ("direct", "recursive")]
SIDES = (96, 600)


@pytest.fixture(scope="module")
def rasters() -> dict[int, xr.Dataset]:
    return {side: make_cube((side, side), steps=7, holes=False) for side in SIDES}


def planned(ds: xr.Dataset, **options: Any) -> TrainPlan:
    network, fit = split_fitting(options)
    cube = as_cube(ds, target="hm", dynamic=(), static=("elevation",))
    return plan(cube, TrainSetup("hm", (), ("elevation",), network, fit))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("arch", "strategy"), PAIRS)
def test_every_network_trains_with_its_defaults(
    rasters: dict[int, xr.Dataset], side: int, arch: str, strategy: str
) -> None:
    """One batch of one chip: it has pixels that are scored at the last lead, and a gradient."""
    made = planned(rasters[side], arch=arch, strategy=strategy)
    reader = made.reader
    draw = Draw.of(reader, made.scanned.changed, 0.0)
    chips = Chips(reader, draw, made.chip, batch=1, steps=1, key=(0, 0))
    found = next(b for b in _batches(chips) if (b.weight[:, -1] > 0).any())
    torch.manual_seed(0)
    network = Forecaster.of(reader.spec, reader.scaler)
    error = loss(network, found, reader.sizes)
    error.backward()
    gradient = network.head.bias.grad
    assert gradient is not None
    assert torch.isfinite(error)
    assert float(gradient.abs().max()) > 0


def _batches(chips: Chips) -> Any:
    for epoch in range(40):
        chips.key = (0, epoch)
        yield from chips


@pytest.mark.parametrize("arch", NETWORKS.names())
def test_a_recursive_network_is_trained_on_a_small_raster(
    rasters: dict[int, xr.Dataset], arch: str
) -> None:
    model = rasters[96].hm.train(
        static=["elevation"], arch=arch, strategy="recursive", width=4, hidden=4, epochs=1,
        steps=1, batch=1, final=False, validation=0.05, calibration=0,
    )  # fmt: skip
    assert model.training["chip"] == 96
    assert model.training["fit"]["chip"] is None
    assert model.training["network"]["context"] is None
    assert model.spec.context.radii == (1, 3, 10)


@pytest.mark.parametrize(
    ("options", "shape", "side"),
    [
        ({}, (600, 600), 116),
        ({}, (40, 60), 60),
        ({"arch": "dilated", "strategy": "recursive"}, (600, 600), 192),  # reach 64 px
        ({"arch": "dilated", "strategy": "recursive"}, (96, 600), 192),
        ({"arch": "dilated", "strategy": "recursive"}, (96, 96), 96),
        ({"arch": "convlstm", "strategy": "recursive"}, (600, 600), 204),  # 70 px
        ({"arch": "dilated", "trunk": (1, 2, 4, 8, 16)}, (600, 600), 116),  # 32 px
        ({"arch": "dilated", "trunk": (1, 2, 4, 8, 24)}, (600, 600), 120),  # 40 px
        ({"arch": "dilated", "trunk": (1, 2, 4, 8, 160)}, (2000, 2000), 416),  # 176 px
    ],
)
def test_a_chip_has_a_core_that_is_scored_at_the_last_lead(
    options: dict[str, Any], shape: tuple[int, int], side: int
) -> None:
    spec = replace(make_spec(make_cube((32, 32)), ModelOptions(**options)), h=4)
    rim = reach(spec.network, 4)
    found = chip_of(TrainOptions(), spec, shape)
    assert found == side
    assert found >= max(shape) or found - 2 * rim >= min(rim, 64)


@pytest.mark.parametrize("shape", [(600, 600), (96, 600), (600, 96)])
def test_a_given_chip_is_obeyed_or_refused(shape: tuple[int, int]) -> None:
    """Also on a narrow raster, most of whose pixels no such chip could score."""
    options = ModelOptions(arch="convlstm", strategy="recursive")
    spec = replace(make_spec(make_cube((32, 32)), options), h=4)
    assert chip_of(TrainOptions(chip=150), spec, shape) == 150
    text = r"chip=96 does not fit a network that reaches 70 px in 4 leads: .* Pass chip=172, or"
    with pytest.raises(BadArgument, match=text):
        chip_of(TrainOptions(chip=96), spec, shape)
    assert chip_of(TrainOptions(chip=96), spec, (96, 96)) == 96


@pytest.mark.parametrize(
    ("shape", "radii"),
    [
        ((600, 600), (1, 3, 10, 30)),
        ((120, 500), (1, 3, 10, 30)),
        ((119, 500), (1, 3, 10)),
        ((40, 40), (1, 3, 10)),
        ((39, 900), (1, 3)),
    ],
)
def test_a_square_of_the_context_is_at_most_half_as_wide_as_the_raster(
    shape: tuple[int, int], radii: tuple[int, ...]
) -> None:
    spec = make_spec(make_cube(shape), ModelOptions())
    assert spec.context.radii == radii
    assert spec.context.halo <= max(radii) + 1
    assert make_spec(make_cube(shape), ModelOptions(context=(5, 30))).context.radii == (5, 30)
    assert make_spec(make_cube(shape), ModelOptions(context=())).context.radii == ()


def test_radii_that_are_left_out_are_reported_in_one_line() -> None:
    def lines(shape: tuple[int, int], **options: Any) -> list[str]:
        said: list[str] = []
        make_cube(shape, steps=5, holes=False).hm.train(
            static=["elevation"], history=2, h=1, width=3, trunk=(1,), epochs=1, steps=1, batch=1,
            final=False, progress=Progress(lambda *args: said.append(str(args[-1]))), **options,
        )  # fmt: skip
        return [line for line in said if "quarter" in line]

    (line,) = lines((48, 64))
    assert line == (
        "model: context of 1, 3, 10 px: 30 px is more than a quarter of the raster's 48 px "
        "(model.context names other radii)"
    )
    assert lines((48, 64), context=(1, 3)) == []


@pytest.mark.parametrize("native", [True, False])
def test_the_precision_of_a_training_is_chosen_by_the_hardware_and_recorded(
    rasters: dict[int, xr.Dataset], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "native_bfloat16", lambda device: native)
    network, _ = split_fitting({})
    for asked, want in (("auto", "bfloat16" if native else "float32"), ("float32", "float32")):
        fit = TrainOptions(precision=asked)
        recipe = TrainSetup("hm", (), ("elevation",), network, fit)
        made = plan(as_cube(rasters[96], target="hm", static=("elevation",)), recipe)
        assert facts(made, recipe)["precision"] == fitting.precision_of(fit) == want


def steps_of(step: Any) -> xr.Dataset:
    """A series whose steps are those of a function of their number."""
    ds = make_cube((96, 96), steps=7, holes=False)
    changes = np.stack([step(index) for index in range(6)])
    ds["hm"].values[1:] = ds["hm"].values[0] + np.cumsum(changes, axis=0)
    return ds


def test_leads_have_heads_of_their_own_where_past_steps_are_foreseen() -> None:
    rng = np.random.default_rng(0)
    kept = 0.01 * rng.standard_normal((96, 96))
    goes_on = steps_of(lambda index: kept)
    by_chance = steps_of(lambda index: 0.01 * rng.standard_normal((96, 96)))

    def heads(ds: xr.Dataset, **options: Any) -> str:
        found = planned(ds, context=(1,), **options)
        return found.reader.spec.network.heads

    assert planned(goes_on, context=(1,), h=3).regular
    assert not planned(by_chance, context=(1,), h=3).regular
    assert heads(goes_on, h=3) == "separate"
    assert heads(by_chance, h=3) == "shared"
    assert heads(goes_on, h=3, heads="shared") == "shared"
    assert heads(by_chance, h=3, heads="separate") == "separate"
    assert heads(goes_on, h=1) == "shared", "one lead has one head"
    assert heads(goes_on, h=3, strategy="recursive") == "shared"
    assert heads(goes_on, h=3, anchor=False) == "shared", "nothing shows what is foreseen"


def test_heads_that_are_chosen_are_reported_in_one_line() -> None:
    kept = 0.01 * np.random.default_rng(0).standard_normal((96, 96))
    ds = steps_of(lambda index: kept)

    def line(**options: Any) -> str | None:
        setup = TrainSetup(None, (), (), *split_fitting({"context": (1,), "h": 3, **options}))
        return heads_apart(plan(as_cube(ds), setup), setup)

    assert "model.heads: shared" in (line() or "")
    assert line(heads="separate") is None
    assert line(h=1) is None
