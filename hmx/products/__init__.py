"""Products: GeoTIFFs, drawn maps and descriptions of forecasts, maps and models."""
