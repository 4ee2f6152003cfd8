"""Cube: one regular grid with time, y and x; everything that says what a cube is."""
