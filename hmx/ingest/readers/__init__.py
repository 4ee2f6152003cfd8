"""Readers of source formats, one file each; :mod:`hmx.ingest.sources` knows them by ending."""
