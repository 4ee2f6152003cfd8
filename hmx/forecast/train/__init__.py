"""Train: a cube to a forecaster."""
