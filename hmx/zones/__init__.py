"""Zones: named parts of the map, and how much of each pixel they cover."""
