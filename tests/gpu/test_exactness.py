"""A GPU computes what the CPU computes: in float32 without TF32, and bfloat16 within its audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import hmx
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.hardware import choose_device, computing
from hmx.networks.forecaster import Forecaster, NetworkInputs
from tests.gpu.device import DEVICE, ROUNDED, cuda_only, largest, on_gpu
from tests.make.cubes import make_bundle
from tests.make.networks import KINDS, options_of

pytestmark = on_gpu


def inputs_of(bundle: Bundle) -> tuple[np.ndarray, ...]:
    """Inputs of a network, of noise."""
    rng, spec = np.random.default_rng(0), bundle.spec
    past = rng.random((spec.network.past_steps, 48, 40), "float32")
    arrays = {spec.target: past, "elevation": rng.random((48, 40), "float32") * 900}
    return tuple(assemble(arrays, spec, bundle.scaler).tensors())


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_forecasts_the_same_on_both_devices(
    kind: str, land_cube: xr.Dataset, tmp_path: Path, careless: None
) -> None:
    bundle = make_bundle(land_cube, options_of(kind), valid_range=None).save(tmp_path / "model")
    on = {
        device: land_cube.hm.forecast(h=2, model=bundle, tile=256, device=device).load()
        for device in ("cpu", DEVICE)
    }
    assert float(on["cpu"]["hm"].std()) > 0
    span = float(on["cpu"]["hm"].max() - on["cpu"]["hm"].min())
    assert largest(on["cpu"], on[DEVICE]) <= ROUNDED * max(1.0, span)


@pytest.mark.parametrize("tile", [32, 50, 101])
def test_tiles_on_a_gpu_equal_one_pass(
    cube: xr.Dataset, trained: hmx.Bundle, tile: int, careless: None
) -> None:
    whole = cube.hm.forecast(h=2, model=trained, tile=256, device=DEVICE).load()
    tiled = cube.hm.forecast(h=2, model=trained, tile=tile, device=DEVICE).load()
    assert largest(whole, tiled) <= ROUNDED


def test_a_float64_forecast_on_a_gpu_is_that_of_the_cpu(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    on = [
        cube.hm.forecast(h=2, model=trained, device=device, precision="float64").load()
        for device in ("cpu", DEVICE)
    ]
    assert largest(*on) <= 1e-12


def test_half_precision_passes_its_audit(cube: xr.Dataset, trained: hmx.Bundle) -> None:
    full, half = (
        cube.hm.forecast(h=2, model=trained, device=DEVICE, precision=precision)["hm"].values
        for precision in ("float32", "bfloat16")
    )
    origin = cube["hm"].values[-1]
    seen = np.isfinite(full) & np.isfinite(origin)
    change = np.sqrt(np.mean(np.square((full - origin)[seen])))
    error = np.sqrt(np.mean(np.square((full - half)[seen])))
    assert 0 < error <= 0.01 * change
    if DEVICE == "cpu":  # not every CPU has bfloat16
        return
    chosen = cube.hm.forecast(h=2, model=trained, device=DEVICE, precision="auto")
    assert '"bfloat16"' in chosen.attrs["hmx_provenance"]


@cuda_only
def test_auto_means_the_gpu() -> None:
    assert choose_device("auto").type == "cuda"
    with pytest.raises(hmx.errors.BadArgument, match="is not here"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


@cuda_only
def test_a_convolution_in_float32_has_all_its_bits(careless: None) -> None:
    """TF32 keeps 10 bits of 23: its error is a thousand times that of float32."""
    torch.manual_seed(0)
    x, w = torch.randn(1, 64, 64, 64), torch.randn(64, 64, 3, 3)
    exact = torch.nn.functional.conv2d(x.double(), w.double())
    with computing():
        found = torch.nn.functional.conv2d(x.cuda(), w.cuda()).cpu()
    assert float((found.double() - exact).abs().max() / exact.abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_a_batch_are_those_of_single_launches(kind: str, land_cube: xr.Dataset) -> None:
    """Several tiles may share a launch: no pixel depends on the other windows of its batch."""
    bundle = make_bundle(land_cube, options_of(kind), valid_range=None)
    network = Forecaster.load(bundle).to(DEVICE)
    seen = NetworkInputs(*(torch.from_numpy(a) for a in inputs_of(bundle)))
    batch = NetworkInputs(*(torch.stack([t, t.flip(-1), t.flip(-2)]).to(DEVICE) for t in seen))
    crop = (slice(None), slice(None))
    with computing():
        together = network(batch, h=2, crop=crop).cpu()
        span = max(1.0, float(together.max() - together.min()))
        for number in range(3):
            one = NetworkInputs(*(t[number : number + 1] for t in batch))
            alone = network(one, h=2, crop=crop).cpu()[0]
            assert float((together[number] - alone).abs().max()) <= ROUNDED * span
