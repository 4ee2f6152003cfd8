"""hmx: seamless, georeferenced forecasts of raster time series.

>>> import hmx
>>> ds = hmx.open_cube("build/demo.zarr")  # doctest: +SKIP
>>> model = ds.hm.train()  # doctest: +SKIP
>>> fc = ds.hm.forecast(h=4, level=[80, 95])  # doctest: +SKIP

Importing hmx registers the accessor ``.hm`` on xarray's Dataset and DataArray,
and loads neither torch nor Lightning nor distributed.
"""

from hmx.accessor import HMAccessor, register
from hmx.bundle import Bundle, load
from hmx.catalog import Catalog
from hmx.cube import open_cube
from hmx.errors import HmxError
from hmx.provenance import code_version

register()

__version__ = code_version()
__all__ = ["Bundle", "Catalog", "HMAccessor", "HmxError", "load", "open_cube"]
