"""Figures: what matplotlib draws of scores and training; nothing here computes them."""
