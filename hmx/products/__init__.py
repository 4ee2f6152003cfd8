"""Products: what a forecast becomes for people."""
