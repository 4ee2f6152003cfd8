"""Readers of source formats, one file each; :mod:`hmx.ingest.sources` finds them by ending."""
