"""Scores of mappers on sites they have not seen."""
