"""Catalogs that ship with hmx."""
