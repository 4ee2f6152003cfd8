"""Integrity: a finished store carries checksums of its content, and damage is found.

``seal`` writes the checksums, ``reading`` compares each chunk as it is read, ``examine``
compares all files at once.
"""
