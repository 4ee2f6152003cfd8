"""Survey: looks at a folder of rasters and points, and writes the catalog of what it holds."""
