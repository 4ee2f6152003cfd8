"""Catalog: one YAML file of everything that a run reads, fits and writes.

Unknown keys are errors, paths are relative to the file, ``${NAME}`` is read
from the environment, and any URL that fsspec or GDAL understands works where a
path does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import model_validator

from hmx.engine.options import PLACES, DaskSection
from hmx.errors import CatalogError, did_you_mean
from hmx.files.paths import absolute
from hmx.files.yamlfile import parse_yaml, read_yaml
from hmx.forecast.options import BacktestOptions, ForecastOptions, TrainOptions
from hmx.ingest.options import CubeSection
from hmx.mapping.options import MapOptions, MapScoreOptions, MapTrainOptions
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.points.options import PointsOptions
from hmx.settings import FilePath, Options, Verbatim, parse
from hmx.splits.options import SplitOptions
from hmx.training.options import TrackSection
from hmx.zones.options import ZonalOptions

SUFFIXES = (".yaml", ".yml")
_SHOWN = 10  # catalogs that a message lists


class MapModelSection(MapperOptions):
    """The network, and the folder its bundle is saved in."""

    path: FilePath | None = None


class MapTrainSection(MapTrainOptions):
    """The fit, how samples are split, and the mapper that it starts from."""

    split: SplitOptions = SplitOptions()
    init_from: FilePath | None = None


class TrainSection(TrainOptions):
    """The fit, and the model that it starts from."""

    init_from: FilePath | None = None


class PointsSection(PointsOptions):
    """Samples of a quantity: a CSV, a GeoPackage or another vector file, and its columns."""

    path: FilePath


class ModelSection(ModelOptions):
    """The network, and the folder its bundle is saved in."""

    path: FilePath | None = None


class ForecastSection(ForecastOptions):
    """The forecast, and the store it is written to."""

    output: FilePath | None = None


class ZonalSection(ZonalOptions):
    """Totals of zones: the file of the zones, and the table it is written to."""

    zones: FilePath | None = None
    output: FilePath | None = None


class EvaluateSection(BacktestOptions):
    """The backtest, zones to score separately, and the folder of its scorecard."""

    zones: FilePath | None = None
    output: FilePath | None = None


class MapEvaluateSection(MapScoreOptions):
    """The scores, and the folder they are written to."""

    output: FilePath | None = None


class MapSection(MapOptions):
    """The map, the store it is written to, and a folder for it as GeoTIFFs."""

    output: FilePath | None = None
    cog: FilePath | None = None


def is_catalog(path: str | Path) -> bool:
    """Return True if a path has the suffix of a catalog; stores and models have others."""
    return str(path).lower().endswith(SUFFIXES)


class BaseCatalog(Options):
    """What catalogs of both jobs have; every path is absolute or a URL."""

    # Version of the format: a later hmx can refuse or translate catalogs of an older one.
    hmx: Literal[1] = 1
    name: str = "unnamed"
    cube: CubeSection
    dask: DaskSection = DaskSection()
    track: TrackSection = TrackSection()
    zonal: ZonalSection = ZonalSection()

    @classmethod
    def load(
        cls,
        path: str | Path,
        overrides: Sequence[str] = (),
        flags: Mapping[str, object] | None = None,
    ) -> Self:
        """Read and validate a catalog of this job.

        Parameters
        ----------
        path : str or Path
            A YAML file.
        overrides : sequence of str
            ``key.path=value``, as the command line's ``--set``; values are YAML.
        flags : mapping, optional
            Values by key path, taken as they are: neither YAML nor ``${NAME}`` is read in them.

        Raises
        ------
        CatalogError
            If the file is absent, is not YAML, or has an impossible value.

        Examples
        --------
        >>> catalog = Catalog.load("catalogs/demo.yaml", ["forecast.h=2"])
        >>> catalog.forecast.h
        2
        """
        raw = _raw(path, overrides, flags or {})
        # Relative paths start at the folder of the catalog, not at the working folder: a catalog
        # gives the same run wherever the command is typed. A link to it is followed first.
        context = {"base": str(Path(absolute(path)).resolve().parent)}
        return parse(cls, raw, file=str(path), error=CatalogError, context=context)

    @property
    def zones_path(self) -> str:
        """Table of zones; default: next to the cube."""
        return self.zonal.output or _sibling(self.cube.path, "_zones.csv")

    @property
    def static(self) -> tuple[str, ...]:
        """Sources without time, or with months next to a calendar."""
        sources, monthly = self.cube.sources, self.cube.monthly
        # A source of 12 months next to a calendar has no step of its own in the series: each
        # month becomes a band that is the same in all years.
        return tuple(n for n, source in sources.items() if source.axis is None or n in monthly)

    @property
    def transforms(self) -> dict[str, str]:
        """What covariates go through before they are scaled."""
        sources = self.cube.sources.items()
        return {name: s.transform for name, s in sources if s.transform != "none"}

    @property
    def future(self) -> tuple[str, ...]:
        """Sources that are known ahead."""
        return tuple(name for name, source in self.cube.sources.items() if source.future)

    @property
    def dynamic(self) -> tuple[str, ...]:
        """Sources with time, except the target."""
        known = {*self.static, self.cube.target}
        return tuple(name for name in self.cube.sources if name not in known)


class Catalog(BaseCatalog):
    """A validated catalog of a forecast."""

    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    forecast: ForecastSection = ForecastSection()
    evaluate: EvaluateSection = EvaluateSection()

    @model_validator(mode="before")
    @classmethod
    def _no_points(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("points") is not None:
            # Pydantic would report an unknown key and suggest a near one, which hides that the
            # user typed the command of the other job.
            raise ValueError(
                "this catalog has points, so it maps and does not forecast. Type hmx map, or "
                "hmx.MapCatalog.load(path)"
            )
        return raw

    @model_validator(mode="after")
    def _another_start(self) -> Self:
        _require_another_start(self)
        return self

    @property
    def model_path(self) -> str:
        """Folder of the bundle; default: next to the cube."""
        return self.model.path or _sibling(self.cube.path, ".model")

    @property
    def forecast_path(self) -> str:
        """Store of the forecast; default: next to the cube."""
        return self.forecast.output or _sibling(self.cube.path, "_forecast.zarr")

    @property
    def scorecard_path(self) -> str:
        """Folder of the scorecard; default: next to the cube."""
        return self.evaluate.output or _sibling(self.cube.path, "_scorecard")


class MapCatalog(BaseCatalog):
    """A validated catalog that learns from points and maps."""

    points: PointsSection
    model: MapModelSection = MapModelSection()
    train: MapTrainSection = MapTrainSection()
    map: MapSection = MapSection()
    evaluate: MapEvaluateSection = MapEvaluateSection()

    @model_validator(mode="before")
    @classmethod
    def _covariates_alone(cls, raw: Any) -> Any:
        """Leave out the target of the cube: that of points is mapped."""
        if isinstance(raw, dict) and raw.get("points") is None:
            raise ValueError(
                "this catalog has no points, so it forecasts and does not map. Type hmx forecast, "
                "or add points: {path: points.csv, target: soc}"
            )
        if isinstance(raw, dict) and isinstance(raw.get("cube"), dict):
            # A target written in the catalog stands to the right, so it wins over None.
            return raw | {"cube": {"target": None} | raw["cube"]}
        return raw

    @model_validator(mode="after")
    def _another_start(self) -> Self:
        _require_another_start(self)
        return self

    @property
    def model_path(self) -> str:
        """Folder of the bundle; default: next to the cube."""
        return self.model.path or _sibling(self.cube.path, ".model")

    @property
    def map_path(self) -> str:
        """Store of the map; default: next to the cube."""
        return self.map.output or _sibling(self.cube.path, "_map.zarr")

    @property
    def scorecard_path(self) -> str:
        """Folder of the scorecard; default: next to the cube."""
        return self.evaluate.output or _sibling(self.cube.path, "_scorecard")


AnyCatalog = Catalog | MapCatalog


def _require_another_start(catalog: AnyCatalog) -> None:
    """Refuse a fit that would replace the model that it starts from."""
    if catalog.train.init_from == catalog.model_path:
        raise ValueError(
            f"train.init_from is {catalog.model_path!r}, where the new model is saved, so each "
            "run would start from the run before. Give model.path another folder"
        )


def load_catalog(
    path: str | Path, overrides: Sequence[str] = (), flags: Mapping[str, object] | None = None
) -> AnyCatalog:
    """Read and validate a catalog of either job: with points, it maps.

    Parameters
    ----------
    path : str or Path
        A YAML file.
    overrides : sequence of str
        ``key.path=value``, as the command line's ``--set``; values are YAML.
    flags : mapping, optional
        Values by key path, taken as they are.

    Raises
    ------
    CatalogError
        If the file is absent, is not YAML, or has an impossible value.
    """
    # The file is parsed twice. It has at most 1 MB, and the class must be known first: its
    # model decides which keys are unknown.
    kind = MapCatalog if has_points(path, overrides) else Catalog
    return kind.load(path, overrides, flags)


def has_points(path: str | Path, overrides: Sequence[str] = ()) -> bool:
    """Return True if a catalog learns from points and maps.

    Raises
    ------
    CatalogError
        If the file is absent or is not YAML.
    """
    return _raw(path, overrides, {}).get("points") is not None


def _raw(path: str | Path, overrides: Sequence[str], flags: Mapping[str, object]) -> dict[str, Any]:
    """Read a catalog and write overrides and flags into it."""
    raw = _read(Path(absolute(path)))
    # Flags come last: --h 4 is more explicit than --set forecast.h=2.
    changes = [*map(_override, overrides), *(_flag(*item) for item in flags.items())]
    # A catalog for a cluster has dask.cluster; with --workers 4 on a laptop both would be set,
    # and the two exclude each other.
    had, changed = raw.get("dask"), {change.key for change in changes}
    named = {key for key in PLACES if f"dask.{key}" in changed}
    if isinstance(had, dict) and named - {key for key in PLACES if had.get(key) is not None}:
        raw["dask"] = {}
    for change in changes:
        change.write(raw)
    return raw


def _sibling(path: str, suffix: str) -> str:
    return path.rstrip("/").removesuffix(".zarr") + suffix


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise CatalogError(f"there is no catalog {str(path)!r}.{_nearby(path)}") from None
    if not isinstance(raw, dict):
        raise CatalogError(
            f"{path} holds {type(raw).__name__}, and a catalog is a mapping with the keys "
            f"{', '.join(Catalog.model_fields)}. See catalogs/demo.yaml."
        )
    return raw


def _nearby(path: Path) -> str:
    """Name the catalog that was meant, or those that are there."""
    folder = path.parent
    try:
        names = sorted(p.name for p in folder.iterdir() if is_catalog(p))
    except OSError:
        return ""
    # demo for demo.yaml is closer than any name by edit distance.
    whole = [name for name in names if name.startswith(f"{path.name}.")]
    near = f" Did you mean {whole[0]!r}?" if whole else did_you_mean(path.name, names)
    others = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return near or (f" In its folder: {others}." if names else "")


@dataclass(frozen=True)
class _Change:
    """A value for a key path, and how a message calls where it came from."""

    key: str
    value: Any
    source: str

    def write(self, raw: dict[str, Any]) -> None:
        """Write the value into a raw catalog."""
        *parents, last = self.key.split(".")
        at = raw
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise CatalogError(f"{self.source}: {parent!r} is not a section of the catalog.")
        at[last] = self.value


def _flag(key: str, value: object) -> _Change:
    """Take the value of a flag as it is: no YAML in it is parsed, no ``${NAME}`` replaced."""
    taken = Verbatim(value) if isinstance(value, str) else value
    return _Change(key, list(taken) if isinstance(taken, tuple) else taken, f"the flag for {key}")


def _override(text: str) -> _Change:
    """Read ``key.path=value``, whose value is YAML."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise CatalogError(f"--set {text!r}: write key.path=value, e.g. forecast.h=2.")
    try:
        # whole: without it, YAML would cut "a #b" at the blank as a comment, without an error.
        return _Change(key, parse_yaml(value, whole=True), f"--set {text!r}")
    except (yaml.YAMLError, ValueError, OverflowError):
        raise CatalogError(
            f"--set {text!r}: {value!r} is not a YAML value. Quote a text with marks for the shell "
            f"and for YAML: --set \"{key}='a text: with # marks'\"."
        ) from None
