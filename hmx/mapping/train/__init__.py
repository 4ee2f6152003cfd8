"""Training of a mapper from samples at points."""
