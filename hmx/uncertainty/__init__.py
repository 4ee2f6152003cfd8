"""Uncertainty: distributions as arrays, their calibration, and where a model applies."""
