"""The survey of a folder: a catalog that runs, and what was guessed for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hmx.catalog import Catalog, MapCatalog, load_catalog
from hmx.errors import BadArgument, HmxError, OutputExists, SourceError, did_you_mean
from hmx.files.paths import absolute, is_url
from hmx.ingest.ingest import require_readable
from hmx.progress import OnStep, Progress, counted
from hmx.survey.choice import LEAST, Chosen, for_forecast, for_map, series_of
from hmx.survey.limits import undeclared
from hmx.survey.sources import Found, sources_in
from hmx.survey.tables import FoundPoints, points_in
from hmx.survey.text import forecast_text, map_text, open_text


@dataclass(frozen=True)
class Survey:
    """A catalog that was written for a folder.

    Parameters
    ----------
    path : Path
        The catalog.
    job : {"forecast", "map", "open"}
        What it is for; ``open`` needs an entry of the user first.
    text : str
        As it was written.
    notes : tuple of str
        What was found, guessed and left out, one sentence each.
    """

    path: Path
    job: Literal["forecast", "map", "open"]
    text: str
    notes: tuple[str, ...]


def survey(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    target: str | None = None,
    overwrite: bool = False,
    progress: Progress | OnStep | None = None,
) -> Survey:
    """Look at a folder of rasters, and write a catalog that runs.

    Headers of all rasters are read, and a sample of the pixels of each series. A table of
    samples makes it the catalog of a map; without one, a series of dated rasters is forecast.

    Parameters
    ----------
    folder : str or Path
        With rasters (GeoTIFF, NetCDF, Zarr, all that ingest reads) and perhaps a table of points.
    output : str or Path, optional
        The catalog. Default: in the working folder, called like the folder.
    target : str, optional
        The series that is forecast, or the column of the table that is mapped. Default: guessed.
    overwrite : bool
        Replace a catalog that exists.
    progress : Progress or callable, optional
        Its steps are files; its notes are those of the result.

    Returns
    -------
    Survey
        The catalog; every guess stands in it as a comment.

    Raises
    ------
    SourceError
        If the folder does not exist or has no raster.
    OutputExists
        If the catalog exists.
    BadArgument
        If ``target`` is neither a series nor a column, or the folder is remote.

    Examples
    --------
    >>> made = survey("data/demo", "build/mine.yaml", overwrite=True)
    >>> made.job
    'forecast'
    """
    told = Progress.of(progress)
    root, catalog = _folder(folder), _output(folder, output, overwrite=overwrite)
    found = sources_in(root, lambda done, total: told.step(done, total, "init: headers"))
    if not found:
        raise SourceError(
            f"{root} has no rasters (GeoTIFF, VRT, NetCDF, Zarr ...), and a catalog names some. "
            "Pass the folder that has them."
        )
    made = _written(root, catalog, found, target)
    catalog.parent.mkdir(parents=True, exist_ok=True)
    catalog.write_text(made.text, encoding="utf-8")
    notes = made.notes
    if made.job != "open":
        notes += _checked(catalog)
    for note in notes:
        told.note(note)
    return Survey(catalog, made.job, made.text, notes)


def _folder(folder: str | Path) -> Path:
    if is_url(str(folder)):
        raise BadArgument(
            f"{str(folder)!r} is remote, and hmx init looks at a folder of this machine. Copy a "
            "few of its files, or write their URLs into a catalog (hmx guide rasters)."
        )
    root = Path(absolute(folder))
    if not root.is_dir():
        what = "is a file, and a folder is looked at" if root.exists() else "does not exist"
        raise SourceError(f"{root} {what}. Pass the folder that has your rasters.")
    return root.resolve()


def _output(folder: str | Path, output: str | Path | None, *, overwrite: bool) -> Path:
    name = re.sub(r"[^\w.-]+", "_", Path(absolute(folder)).resolve().name).strip("._") or "mine"
    path = Path(absolute(output or f"{name}.yaml"))
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise BadArgument(
            f"output {str(path)!r} has another ending, and a catalog ends in .yaml. Try "
            f"{path.name}.yaml."
        )
    if path.exists() and not overwrite:
        raise OutputExists(
            f"{path} exists, and may have been edited. Pass another name (--output mine.yaml), or "
            "--overwrite to replace it."
        )
    return path


def _written(root: Path, path: Path, found: Sequence[Found], target: str | None) -> Survey:
    """Decide the job, and write its text."""
    name, base = path.stem, path.parent.resolve()
    able = [each.name for each in series_of(found)]
    grid = next((each.grid for each in for_map(found).sources), None)
    column = None if target in able else target
    tables = points_in(root, grid, column)
    usable = [] if target in able else [each for each in tables if not each.trouble]
    if target is not None and target not in able and not usable:
        columns = [name for table in tables for name in table.columns]
        for table in tables:
            if target in table.columns:
                raise BadArgument(f"{table.path} cannot be mapped: {table.trouble}")
        raise BadArgument(
            f"target {target!r} is neither a series of dated rasters "
            f"({', '.join(able) or 'none'}) nor a column of numbers of a table "
            f"({', '.join(columns) or 'none'}).{did_you_mean(target, [*able, *columns])}"
        )
    zones = _zones(root, tables)
    about = [f"not used: {each.path}, {each.trouble}" for each in tables
             if each.trouble and each.path not in zones]  # fmt: skip
    if usable:
        best = max(usable, key=lambda each: each.rows)
        chosen = for_map(found, str(best.options["target"]))
        also = f"To forecast {able[0]} instead: hmx init --target {able[0]}." if able else ""
        about += [f"not used: {each.path}, {best.path} has more rows" for each in usable
                  if each is not best]  # fmt: skip
        text = map_text(name, best, chosen, base=base, folder=root, zones=zones, also=also)
        notes = (f"{best.path}: {best.rows:,} rows of samples", *map(_said, best.remarks))
        return Survey(path, "map", text, (*notes, *_notes(chosen), *about))
    forecast = for_forecast(found, target)
    if forecast is not None:
        others = [series for series in able if series != forecast.target]
        also = f"To forecast another series: --target {others[0]}." if others else ""
        text = forecast_text(name, forecast, base=base, folder=root, zones=zones, also=also)
        return Survey(path, "forecast", text, (*_notes(forecast), *about))
    lame = [each for each in tables if each.path not in zones]
    why = (
        f"no series of {LEAST} dated maps and no "
        f"{'usable ' * bool(lame)}table of samples was found, and one of them is needed"
    )
    text = open_text(name, found, lame, base=base, folder=root, why=why)
    listed = [f"{each.name}: {each.path}{f', {each.trouble}' if each.trouble else ''}"
              for each in found]  # fmt: skip
    return Survey(path, "open", text, (*listed, *about, f"fill in: {why}; see the catalog"))


def _zones(root: Path, tables: Sequence[FoundPoints]) -> list[str]:
    """List the files of polygons among what is not a table of samples."""
    try:
        import pyogrio
    except ImportError:
        return []
    found = []
    for each in tables:
        if not each.trouble or not each.path.lower().endswith(
            (".gpkg", ".shp", ".geojson", ".fgb")
        ):
            continue
        try:
            kinds = [str(kind) for _, kind in pyogrio.list_layers(str(root / each.path))]
        except Exception:  # pyogrio's errors, of files that are not what they are called
            continue
        if len(kinds) == 1 and "Polygon" in kinds[0]:
            found.append(each.path)
    return found


def _notes(chosen: Chosen) -> list[str]:
    lines = []
    for each in chosen.sources:
        what = counted(len(each.steps), "step") if each.kind else "one map"
        role = ", the target" if each.name == chosen.target else ""
        lines.append(f"{each.name}: {what} ({each.path}){role}")
        lines += [_said(text, each.name) for text in each.remarks]
        lines += [_said(f"nodata: {text}", each.name) for text in undeclared(each)]
    if chosen.target:
        lines.insert(0, f"guess: {chosen.target} is forecast, {chosen.why}")
    lines += [f"left out: {each.name} ({each.path}), {each.trouble}" for each in chosen.left]
    return [" ".join(line.split()) for line in lines]


def _said(text: str, name: str = "") -> str:
    head, colon, rest = text.partition(": ")
    if colon and head in ("check", "left out", "fill in"):
        return f"{head}: {name}{': ' * bool(name)}{rest}"
    return f"guess: {name}{': ' * bool(name)}{text}"


def _checked(path: Path) -> tuple[str, ...]:
    """Read the catalog back, and check all that headers show, as ingest will."""
    catalog: Catalog | MapCatalog = load_catalog(path)
    try:
        require_readable(catalog)
    except HmxError as error:
        return (f"fill in: as it is, hmx ingest would refuse it: {error}",)
    return ()
