"""The ``.soc`` accessor: its methods are the plain functions of :mod:`hmx.mapping.api`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from hmx.accessor import AccessorBase, LateModule, Method

if TYPE_CHECKING:
    from hmx.exports import api as exports
    from hmx.exports import cog
    from hmx.mapping import api
    from hmx.mapping import predict as points
    from hmx.mapping import zonal as zones
    from hmx.mapping.select import api as selecting
    from hmx.products import report as reports
    from hmx.products import soil_maps, stock_maps
    from hmx.zones import files as zone_files
    from hmx.zones import frames
else:
    selecting = LateModule("hmx.mapping.select.api")
    zones, points = LateModule("hmx.mapping.zonal"), LateModule("hmx.mapping.predict")
    exports, cog = LateModule("hmx.exports.api"), LateModule("hmx.exports.cog")
    api, soil_maps = LateModule("hmx.mapping.api"), LateModule("hmx.products.soil_maps")
    reports = LateModule("hmx.products.report")
    stock_maps = LateModule("hmx.products.stock_maps")
    zone_files, frames = LateModule("hmx.zones.files"), LateModule("hmx.zones.frames")


class SOCAccessor(AccessorBase):
    """Mapping from samples: ``ds.soc`` on a Dataset of covariates.

    A Dataset that has a variable ``soc``, as a map of soil carbon has, keeps it in reach:
    whatever is not a name below, such as ``soil.soc.values``, ``soil.soc.plot()`` or
    ``soil.soc * 10``, is that of ``soil["soc"]``.

    Parameters
    ----------
    obj : Dataset
        Bands with and without time on one grid, under any usual names of dims.

    Examples
    --------
    >>> model = ds.soc.train("points.csv", crs="EPSG:4326")  # doctest: +SKIP
    >>> soil = ds.soc.map(level=[90])  # doctest: +SKIP
    >>> soil.soc.mean()  # of the variable soc  # doctest: +SKIP
    """

    _variable = "soc"

    train = Method(api.train, remembers=True)
    evaluate = Method(api.evaluate)
    select = Method(selecting.select)
    map = Method(api.soc_map, trained=True)
    map_to_zarr = Method(api.map_to_zarr, trained=True)
    predict = Method(points.predict, trained=True)
    plan = Method(api.plan_map, trained=True)
    zonal = Method(zones.zonal, trained=True)
    stock = Method(stock_maps.stock)
    plot_map = Method(soil_maps.plot_map)
    report = Method(reports.report)
    save_zones = Method(zone_files.save_zones)
    zone_frame = Method(frames.zone_frame)
    to_cog = Method(cog.to_cog)
    export = Method(exports.export)


def register() -> None:
    """Register ``.soc`` on Dataset, once."""
    if getattr(xr.Dataset, "soc", None) is not SOCAccessor:
        xr.register_dataset_accessor("soc")(SOCAccessor)  # type: ignore[no-untyped-call]
