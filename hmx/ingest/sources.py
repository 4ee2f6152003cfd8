"""Sources: what a reader of a file format gives to ingest, and the registry of readers.

A reader opens the files of one step as a :class:`Part`: headers only, so that everything
can be checked before a pixel is read. :meth:`Pixels.read` reads one window, so memory
follows the window and not the raster. What numbers mean is decided in :mod:`hmx.cube.values`.

A reader is one file with one decorated function::

    @reader(".h5")
    def open_h5(source: SourceOptions, files: Sequence[str], name: str) -> Part:
        return part_of(my_library.open(files[0]), source, name)  # of hmx.ingest.readers.arrays

Another package declares it in its ``pyproject.toml``, under the ending that it reads::

    [project.entry-points."hmx.readers"]
    ".h5" = "my_package.reader:open_h5"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
import xarray as xr

from hmx.cube.census import Census
from hmx.cube.declarations import Declared
from hmx.cube.grid import Grid
from hmx.errors import BadArgument, SourceError
from hmx.plugins import declared, load_offered, offered
from hmx.windows import Window


def built_in() -> dict[str, str]:
    """Map endings to the modules of the built-in readers, without importing rasterio.

    The ending ``""`` stands for every other one: GDAL opens more formats than anyone can list.
    """
    found = declared("hmx.ingest.readers", "reader")
    return {ending: path.partition(":")[0] for ending, path in found.items()}


class SourceOptions(Declared, Protocol):
    """What a catalog declares of a source, as far as a reader needs it."""

    @property
    def variable(self) -> str | None:
        """Name of the variable, or number of the band, from 1."""


class Pixels(Protocol):
    """Some steps of one variable on one north-up grid, read by window.

    A reader must read the pixels of a window alone: reading all of the file and cutting
    afterwards gives the same numbers, but memory then follows the size of the raster.
    """

    @property
    def name(self) -> str:
        """File, URL or glob, as messages call it."""

    @property
    def grid(self) -> Grid:
        """Grid of the pixels: row 0 is the northernmost, column 0 the westernmost."""

    @property
    def steps(self) -> int:
        """Number of time steps; 1 of a single map."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how the file is read; one sentence each."""

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window.

        Parameters
        ----------
        window : Window
            In pixels of ``grid``; it never leaves the grid.
        census : Census, optional
            Counts what each rule takes away; pass it on to :meth:`hmx.cube.values.Rules.clean`.

        Returns
        -------
        ndarray
            float32, shape (steps, rows, columns); missing values are NaN, scale and offset
            are applied.
        """


class MosaicTile(Protocol):
    """One raster of a mosaic."""

    @property
    def file(self) -> str:
        """Path or URL."""

    @property
    def grid(self) -> Grid:
        """Grid of its pixels, north-up."""

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (rows, columns)."""


class Part(Pixels, Protocol):
    """What a reader returns: the pixels of one file or mosaic, and its time axis."""

    @property
    def time(self) -> xr.DataArray | None:
        """The time axis that the file itself has, shape (steps,); ``None`` of a single map."""

    @property
    def tiles(self) -> Sequence[MosaicTile]:
        """Rasters of which a mosaic consists; empty where a format has no mosaics."""

    def at(self, indices: Sequence[int]) -> Part:
        """Select time steps by position; reads nothing."""


Opener = Callable[[SourceOptions, Sequence[str], str], Part]


@dataclass(frozen=True)
class FormatReader:
    """A reader of the registry."""

    # opens (source, files, name): headers only. Of a format without mosaics it refuses
    # several files with a `CatalogError`.
    open: Opener
    # lists the description of each band of a file; given if bands can be steps of time
    bands: Callable[[str], list[str]] | None = None
    # lists further files that a file refers to, so that a change in one of them is seen
    members: Callable[[str], Iterable[str]] | None = None


GROUP = "hmx.readers"  # of the entry points

_registered: dict[str, FormatReader] = {}


def reader(
    *endings: str,
    bands: Callable[[str], list[str]] | None = None,
    members: Callable[[str], Iterable[str]] | None = None,
) -> Callable[[Opener], Opener]:
    """Register a function as the reader of some endings of file names.

    Parameters
    ----------
    *endings : str
        With their dot, such as ``".h5"``; upper and lower case are the same.
    bands, members : callable, optional
        As of :class:`FormatReader`.

    Raises
    ------
    BadArgument
        If an ending has no dot, or a built-in reader has it.

    Examples
    --------
    >>> @reader(".grid")
    ... def open_grid(source, files, name):
    ...     raise NotImplementedError
    >>> ".grid" in endings()
    True
    """

    def register(opener: Opener) -> Opener:
        for ending in map(str.lower, endings):
            owner = built_in().get(ending)
            if owner is not None and owner != opener.__module__:
                raise BadArgument(
                    f"@reader({ending!r}): {owner} reads this ending, and a catalog must mean one "
                    "reader. Give another ending."
                )
            if owner is None and not ending.startswith("."):
                raise BadArgument(f"@reader({ending!r}): an ending has a dot. Write '.{ending}'.")
            _registered[ending] = FormatReader(opener, bands, members)
        return opener

    return register


def endings() -> tuple[str, ...]:
    """List the endings with a reader, those of installed packages included, sorted."""
    return tuple(sorted({*built_in(), *_registered, *map(str.lower, offered(GROUP))} - {""}))


def reader_of(path: str) -> FormatReader:
    """Find the reader of a file by its ending; GDAL reads the endings that nobody claims."""
    ending = ending_of(path)
    if ending not in _registered:
        if ending in built_in():
            import_module(built_in()[ending])
        else:
            by_ending = {name.lower(): entry for name, entry in offered(GROUP).items()}
            load_offered(
                by_ending[ending],
                _registered,
                ending,
                what=f"the reader of {ending} files",
                decorator="reader",
            )
    return _registered[ending]


def ending_of(path: str) -> str:
    """Return the longest known ending of a path, or an empty text."""
    name = path.rstrip("/").lower()
    known = {*_registered, *built_in()} - {""}
    found = [ending for ending in known if name.endswith(ending)]
    # entry points come last, because reading them scans every installed package
    found = found or [ending for ending in map(str.lower, offered(GROUP)) if name.endswith(ending)]
    return max(found, key=len, default="")


def open_part(source: SourceOptions, files: Sequence[str], name: str) -> Part:
    """Open the file or the tiles of one step, headers only; ``name`` is what messages call it."""
    try:
        return reader_of(files[0]).open(source, files, name)
    except SourceError as error:
        if ending_of(files[0]):
            raise
        raise SourceError(
            f"{error} Its ending is not one that hmx knows ({', '.join(endings())}), so GDAL was "
            "tried. Convert the file to one of them, or install a reader of its format."
        ) from error
