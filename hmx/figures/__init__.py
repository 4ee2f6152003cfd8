"""Figures of training and evaluation, drawn from arrays."""
