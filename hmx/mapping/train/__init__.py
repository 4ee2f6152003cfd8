"""Mappers: networks that learn a quantity at sample points."""
