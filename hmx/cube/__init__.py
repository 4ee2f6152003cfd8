"""Cube: one regular grid with time, y and x, and the rules of what its numbers mean."""
