"""Integrity: a finished store carries checksums of its content, and damage is found.

``seal`` is what a finished store knows of itself, ``reading`` looks at each chunk as it
is read, ``examine`` looks at everything at once.
"""
