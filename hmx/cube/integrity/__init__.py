"""Integrity: a finished store knows what it holds, and says so when it no longer does.

``seal`` is what a finished store knows of itself, ``reading`` looks at each chunk as it
is read, ``examine`` looks at everything at once.
"""
