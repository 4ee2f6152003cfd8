"""Drawing: possible futures of a whole map, lazily as xarray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from pydantic import Field as Limits

from hmx.bundles.folder import trained_model
from hmx.cube.cube import Cubelike, Region
from hmx.cube.grid import Grid
from hmx.engine.lazy import lay
from hmx.engine.result import variable_of
from hmx.errors import BadArgument
from hmx.forecast.bundle import Bundle
from hmx.forecast.joint import dependence_of
from hmx.forecast.order import ForecastRun
from hmx.independent import independent
from hmx.progress import Progress
from hmx.settings import Options, parse
from hmx.uncertainty.joint.dependence import LEVELS, Dependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.windows import Span, Window

CHUNK = 10  # draws that one task makes
MOST = 100_000


class DrawOptions(Options):
    """How many draws, and from which seed."""

    draws: Annotated[int, Limits(ge=1, le=MOST)] = 200
    seed: Annotated[int, Limits(ge=0, lt=2**63)] = 0


@independent
def draws(
    obj: Cubelike,
    n: int = 200,
    h: int = 4,
    *,
    seed: int = 0,
    model: Bundle | str | Path | None = None,
    region: Region = None,
    device: str = "auto",
    progress: Progress = Progress(),
) -> xr.Dataset:
    """Draw possible futures of a whole map, lazily.

    Pixels of a draw vary together as the errors of past forecasts did, and over leads
    too, so sums, shares and differences of pixels have the right spread: compute them draw by
    draw, then take quantiles over draws. Each pixel alone keeps the distribution that
    :func:`forecast` gives it.

    Parameters
    ----------
    obj : Dataset
        The cube.
    n : int
        How many draws. The first ones stay the same when ``n`` grows.
    h : int
        Leads, in steps of the cube's cadence.
    seed : int
        Another seed, other draws. Draws of one seed on one grid are paired: the
        difference of two forecasts has less noise than each.
    model, region, device, progress
        As in :func:`forecast`.

    Returns
    -------
    Dataset
        ``hm`` (realization, time, y, x), float32, in the units of the cube; NaN where the
        origin has no data.

    Raises
    ------
    NotTrained
        Without ``model`` on an object that did not train.
    BadArgument, BundleError, CubeError, MissingVariable
        If options, model and cube do not fit, or the model has no calibration.

    Examples
    --------
    >>> futures = ds.hm.draws(n=100, h=2, model="models/demo")  # doctest: +SKIP
    >>> built = (futures.hm > 0.4).mean(["y", "x"])  # share of the area  # doctest: +SKIP
    >>> built.quantile([0.025, 0.975], "realization")  # doctest: +SKIP
    """
    chosen = parse(DrawOptions, {"draws": n, "seed": seed})
    if isinstance(obj, xr.DataArray):
        raise BadArgument(
            "draws are made from a Dataset: ds = da.to_dataset(name='hm'); ds.hm.draws(...)."
        )
    model = trained_model(model, "model. Pass one: draws(n=200, model='models/demo').")
    run = ForecastRun.check(obj, model, {"h": h, "device": device}, region=region)
    dependence, note = dependence_of(run.bundle, run.cube)
    run.report("draws", progress, note)
    return lay_draws(run, dependence, chosen.draws, chosen.seed)


def lay_draws(run: ForecastRun, dependence: Dependence, count: int, seed: int) -> xr.Dataset:
    """Return draws of a checked forecast as a lazy Dataset."""
    asked = run.with_quantiles(LEVELS)
    result, target = lay(asked), run.bundle.spec.target
    assert isinstance(result, xr.Dataset)  # of a Dataset
    quantiles: da.Array = result[variable_of("quantile", target)].data
    place = _Place(run.cube.grid, run.window, run.cube.outer.flips, dependence, seed)
    token = tokenize(quantiles.name, dependence.as_dict(), seed)
    parts = []
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        part = da.map_blocks(
            _draw_block,
            quantiles,
            place,
            numbers,
            dtype=quantiles.dtype,
            chunks=((len(numbers),), *quantiles.chunks[1:]),
            name=f"hmx-draws-{token}-{numbers.start}-{numbers.stop}",
            meta=np.empty((0, 0, 0, 0), quantiles.dtype),
        )
        parts.append(part)
    made = result[[target]]
    attrs = made[target].attrs | {"long_name": f"{target}, draws of the forecast"}
    made[target] = (("realization", *made[target].dims), da.concatenate(parts), attrs)
    return made.assign_coords(realization=np.arange(count))


@dataclass(frozen=True)
class _Place:
    """Where blocks lie, and how their pixels depend on each other."""

    grid: Grid
    area: Window  # of the grid that is forecast
    flips: tuple[str, ...]  # dims that run the other way in blocks
    dependence: Dependence
    seed: int


def _draw_block(
    block: np.ndarray, place: _Place, numbers: range, block_info: Any = None
) -> np.ndarray:
    """Draw from the quantiles of a block, (levels, h, y, x): (n, h, y, x)."""
    rows, columns = block_info[0]["array-location"][-2:]
    part = Window(Span(*rows), Span(*columns)).flip(place.area.shape, place.flips)
    window = Window(part.y.shift(place.area.y.start), part.x.shift(place.area.x.start))
    axes = tuple(axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in place.flips)
    field = Field(place.grid, window, place.dependence, place.seed)
    found = np.empty((len(numbers), *block.shape[1:]), block.dtype)
    for number, lead, values in Draws(field, np.flip(block, axes))(numbers):
        found[numbers.index(number), lead - 1] = np.flip(values, axes)
    return found
