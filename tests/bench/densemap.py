"""How fast a mapper maps: dense inference beside window by window, in one run.

Run from the root of the project::

    python -m tests.bench.densemap
    python -m tests.bench.densemap --json

Networks have random weights. Window by window is given the batch size that suits it
best, and runs on a sample of the windows. Seconds are those of one thread's CPU, the
least of all turns. The last row maps a real country (``HMX_REAL_DATA``) as a user
would: read, scale, map, back-transform.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from hmx.mapping.api import soc_map
from hmx.networks.cnn_lstm import Mapper, build
from hmx.networks.dense import dense
from hmx.networks.options import MapperOptions
from tests.bench.cases import REAL
from tests.make.mapworlds import make_mapper

STEPS, DYNAMIC, STATIC = 12, 7, 4  # months; bands and whether all are known
MONTHLY = ("LST_DAY", "LST_NIGHT", "NIR", "MIR", "PRECIP", "CLOUD")
FIXED = ("elevation", "slope", "twi")
BATCHES = (64, 256, 1024)
MOST = 400_000  # pixels of all windows of a batch
COMPARED = 512  # windows whose numbers are compared


def main(argv: Sequence[str] | None = None) -> int:
    """Time all cases; print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small and once, to see that it runs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [measure(name, *case, args) for name, case in cases(quick=args.quick).items()]
        country = real_map(turns=args.turns) if REAL.is_dir() and not args.quick else None
    finally:
        torch.set_num_threads(threads)
    if args.json:
        print(json.dumps({"rows": rows, "country": country}, indent=2))
        return 0
    print(f"{'network':<24}{'pixels':>12}{'dense s':>9}{'windows s':>11}{'batch':>7}{'times':>7}"
          f"{'largest difference':>20}")  # fmt: skip
    for row in rows:
        print(f"{row['network']:<24}{row['pixels']:>12}{row['dense_s']:>9.2f}"
              f"{row['windows_s']:>11.2f}{row['batch']:>7}{row['times']:>7.1f}"
              f"{row['difference']:>20.1e}")  # fmt: skip
    if country is not None:
        print(f"a country of {country['pixels']}: {country['seconds_per_member']:.2f} s per member")
    return 0


def cases(*, quick: bool) -> dict[str, tuple[MapperOptions, tuple[int, int]]]:
    """Name networks, and the pixels that each maps."""
    small = (20, 24)
    wide = MapperOptions(window=33, pool=(1, 2))
    return {
        "default": (MapperOptions(), small if quick else (182, 310)),
        "default, large": (MapperOptions(), small if quick else (512, 512)),
        "33 px, pooled": (wide, small if quick else (128, 128)),
        "refitted_covlstm": (MapperOptions(arch="refitted_covlstm"), small if quick else (96, 96)),
    }


def measure(
    name: str, options: MapperOptions, shape: tuple[int, int], args: argparse.Namespace
) -> dict[str, Any]:
    """Time one network both ways, in turns."""
    torch.manual_seed(0)
    network = build(options, dynamic=DYNAMIC, static=STATIC, steps=STEPS).eval()
    read = tuple(size + options.window - 1 for size in shape)
    dynamic, static = torch.randn(STEPS, DYNAMIC, *read), torch.randn(STATIC, *read)
    batches = [16] if args.quick else [b for b in BATCHES if b * options.window**2 <= MOST]
    chosen = torch.randperm(shape[0] * shape[1])
    at_once: list[float] = []
    each: dict[int, list[float]] = {batch: [] for batch in batches}
    with torch.inference_mode():
        for _ in range(1 if args.quick else args.turns):
            at_once.append(clock(lambda: dense(network, dynamic, static)))
            for batch, times in each.items():
                some = chosen[: 2 * batch]  # enough to tell
                took = clock(lambda: by_window(network, dynamic, static, some, batch))  # noqa: B023
                times.append(took / len(some) * shape[0] * shape[1])
        chosen = chosen[:COMPARED]
        found = dense(network, dynamic, static).flatten(1)[:, chosen].T
        exact = by_window(network, dynamic, static, chosen, batches[0])
    best = min(each, key=lambda batch: min(each[batch]))
    return {
        "network": name,
        "pixels": f"{shape[0]} x {shape[1]}",
        "dense_s": min(at_once),
        "windows_s": min(each[best]),
        "batch": best,
        "times": min(each[best]) / min(at_once),
        "difference": float((found - exact).abs().max() / (exact.max() - exact.min())),
    }


def by_window(
    network: Mapper, dynamic: Tensor, static: Tensor, chosen: Tensor, batch: int
) -> Tensor:
    """Run a network on chosen windows, so many at a time."""
    side = network.options.window
    windows = dynamic.unfold(2, side, 1).unfold(3, side, 1).permute(2, 3, 0, 1, 4, 5)
    planes = static.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4)
    y, x = chosen // windows.shape[1], chosen % windows.shape[1]
    parts = zip(y.split(batch), x.split(batch), strict=True)
    return torch.cat([network(windows[at], planes[at]) for at in parts])


def clock(work: Callable[[], object]) -> float:
    """Return the seconds of CPU that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def real_map(*, turns: int) -> dict[str, Any]:
    """Map a real country with one network, from rasters in memory."""
    ds = country()
    model = make_mapper(ds, widths=MapperOptions().widths, hidden=MapperOptions().hidden)
    took = min(clock(lambda: soc_map(ds, model=model)["soc"].values) for _ in range(turns))
    return {"pixels": f"{ds.sizes['y']} x {ds.sizes['x']} px", "seconds_per_member": took}


def country() -> xr.Dataset:
    """Read monthly and static bands of the country."""
    folder = REAL / "macedonia"

    def plane(name: str) -> xr.DataArray:
        opened: Any = xr.open_dataarray(
            folder / f"{name}.tif", engine="rasterio", mask_and_scale=True
        )
        return opened.squeeze("band", drop=True).astype("float32").load()

    months = xr.Variable("time", np.arange(1, 13), {"long_name": "month of year"})
    bands = {
        name: xr.concat([plane(f"{name}_{m:02d}") for m in range(1, 13)], dim=months)
        for name in MONTHLY
    }
    ds = xr.Dataset({name: v.reset_coords(drop=True) for name, v in bands.items()})
    fixed = {name: plane(name).reset_coords(drop=True).values for name in FIXED}
    ds = ds.assign({name: (("y", "x"), values) for name, values in fixed.items()})
    return ds.rio.write_crs("EPSG:4326")


if __name__ == "__main__":
    sys.exit(main())
