"""Exports: forecasts, maps and cubes as files of other programs: GeoTIFF, NetCDF, Zarr 2, STAC."""
