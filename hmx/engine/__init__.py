"""Inference: one function on windows, and the ways to run it over a raster."""
