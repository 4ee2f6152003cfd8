"""Ingest: rasters to a cube on disk."""
