"""hmx: seamless, georeferenced forecasts of raster time series, and maps of samples.

>>> import hmx
>>> ds = hmx.open_cube("build/demo.zarr")  # doctest: +SKIP
>>> model = ds.hm.train()  # doctest: +SKIP
>>> fc = ds.hm.forecast(h=4, level=[80, 95])  # doctest: +SKIP
>>> mapper = ds.soc.train("points.csv", crs="EPSG:4326")  # doctest: +SKIP
>>> soc = ds.soc.map(level=[90])  # doctest: +SKIP

Importing hmx registers the accessors ``.hm`` on xarray's Dataset and DataArray and
``.soc`` on its Dataset, and costs little more than importing xarray: every other name is
loaded when it is first used, torch and Lightning only by work that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hmx.accessor import HMAccessor, register
from hmx.soc_accessor import SOCAccessor
from hmx.soc_accessor import register as register_soc

if TYPE_CHECKING:
    from hmx.catalog import Catalog, MapCatalog, load_catalog
    from hmx.errors import HmxError
    from hmx.forecast.bundle import Bundle
    from hmx.loading import load, open_cube
    from hmx.mapping.bundle import MapBundle
    from hmx.products.compare import compare
    from hmx.products.difference import difference
    from hmx.products.stock import carbon_stock

register()
register_soc()

__all__ = [
    "Bundle", "Catalog", "HMAccessor", "HmxError", "MapBundle", "MapCatalog", "SOCAccessor",
    "carbon_stock", "compare", "difference", "load", "load_catalog", "open_cube",
]  # fmt: skip

_HOMES = {
    "Bundle": "hmx.forecast.bundle",
    "Catalog": "hmx.catalog",
    "HmxError": "hmx.errors",
    "MapBundle": "hmx.mapping.bundle",
    "MapCatalog": "hmx.catalog",
    "carbon_stock": "hmx.products.stock",
    "compare": "hmx.products.compare",
    "difference": "hmx.products.difference",
    "load": "hmx.loading",
    "load_catalog": "hmx.catalog",
    "open_cube": "hmx.loading",
}


def __getattr__(name: str) -> Any:
    """Load a promised name from its module when it is first used (PEP 562)."""
    if name == "__version__":
        from hmx.provenance import code_version

        return code_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'hmx' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "__version__"])
