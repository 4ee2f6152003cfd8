"""Catalog: one YAML file of everything that a run reads, fits and writes.

Unknown keys are errors, paths are relative to the file, ``${NAME}`` is read
from the environment, and any URL that fsspec or GDAL understands works where a
path does.
"""

from hmx.catalog.catalogs import (
    AnyCatalog,
    BaseCatalog,
    Catalog,
    MapCatalog,
    has_points,
    load_catalog,
)
from hmx.catalog.reading import is_catalog

__all__ = [
    "AnyCatalog", "BaseCatalog", "Catalog", "MapCatalog", "has_points", "is_catalog",
    "load_catalog",
]  # fmt: skip
