"""Catalogs: the classes of both jobs, and how a file becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import model_validator

from hmx.catalog.reading import raw_catalog
from hmx.catalog.sections import (
    EvaluateSection,
    ExportSection,
    ForecastSection,
    MapEvaluateSection,
    MapModelSection,
    MapSection,
    MapTrainSection,
    ModelSection,
    PointsSection,
    PredictSection,
    ReportSection,
    SelectSection,
    StockSection,
    TrainSection,
    ZonalSection,
)
from hmx.engine.options import DaskSection
from hmx.errors import CatalogError, did_you_mean
from hmx.files.paths import absolute
from hmx.ingest.options import CubeSection
from hmx.settings import Options, parse
from hmx.training.options import TrackSection

AnyCatalogT = TypeVar("AnyCatalogT", "Catalog", "MapCatalog")


class ProductPath:
    """Path of a product: what its section has, or a name next to the cube."""

    def __init__(self, section: str, suffix: str, *, key: str = "output"):
        self._section, self._suffix, self._key = section, suffix, key

    def __get__(self, catalog: BaseCatalog, kind: type[BaseCatalog]) -> str:
        given: str | None = getattr(getattr(catalog, self._section), self._key)
        return given or _sibling(catalog.cube.path, self._suffix)


class BaseCatalog(Options):
    """What catalogs of both jobs have; every path is absolute or a URL."""

    model_path: ClassVar = ProductPath("model", ".model", key="path")
    scorecard_path: ClassVar = ProductPath("evaluate", "_scorecard")
    zones_path: ClassVar = ProductPath("zonal", "_zones.csv")
    report_path: ClassVar = ProductPath("report", "_report.html")

    # Version of the format: a later hmx can refuse or translate catalogs of an older one.
    hmx: Literal[1] = 1
    name: str = "unnamed"
    cube: CubeSection
    dask: DaskSection = DaskSection()
    track: TrackSection = TrackSection()
    zonal: ZonalSection = ZonalSection()
    export: ExportSection = ExportSection()
    report: ReportSection = ReportSection()

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
        raw = raw_catalog(path, overrides, flags or {}, cls.model_fields)
        # Relative paths start at the folder of the catalog, not at the working folder: a catalog
        # gives the same run wherever the command is typed. A link to it is followed first.
        context = {"base": str(Path(absolute(path)).resolve().parent)}
        return parse(cls, raw, file=str(path), error=CatalogError, context=context)

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


def _require_another_start(catalog: AnyCatalogT) -> AnyCatalogT:
    """Refuse a fit that would replace the model that it starts from."""
    if catalog.train.init_from == catalog.model_path:
        raise ValueError(
            f"train.init_from is {catalog.model_path!r}, where the new model is saved, so each "
            "run would start from the run before. Give model.path another folder"
        )
    return catalog


class Catalog(BaseCatalog):
    """A validated catalog of a forecast."""

    forecast_path: ClassVar = ProductPath("forecast", "_forecast.zarr")

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

    _another_start = model_validator(mode="after")(_require_another_start)


class MapCatalog(BaseCatalog):
    """A validated catalog that learns from points and maps."""

    selection_path: ClassVar = ProductPath("select", "_selection")
    predictions_path: ClassVar = ProductPath("predict", "_predictions.csv")
    map_path: ClassVar = ProductPath("map", "_map.zarr")

    points: PointsSection
    model: MapModelSection = MapModelSection()
    train: MapTrainSection = MapTrainSection()
    map: MapSection = MapSection()
    predict: PredictSection = PredictSection()
    stock: StockSection = StockSection()
    evaluate: MapEvaluateSection = MapEvaluateSection()
    select: SelectSection = SelectSection()

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

    _another_start = model_validator(mode="after")(_require_another_start)

    @model_validator(mode="after")
    def _known_covariates(self) -> Self:
        chosen, sources = self.train.covariates, self.cube.sources
        for name in chosen or ():
            if name not in sources:
                raise ValueError(
                    f"train.covariates names {name!r}, and cube.sources does not (has: "
                    f"{', '.join(sources)}).{did_you_mean(name, sources)}"
                )
        if chosen is not None and not chosen:
            raise ValueError(
                "train.covariates is empty, and a mapper reads at least one source. Name some, or "
                "leave it out for all"
            )
        return self

    @property
    def covariates(self) -> dict[str, tuple[str, ...] | None]:
        """Sources that a mapper reads, with and without time; None for all."""
        kinds, chosen = {"dynamic": self.dynamic, "static": self.static}, self.train.covariates
        return {
            kind: None if chosen is None else tuple(name for name in names if name in chosen)
            for kind, names in kinds.items()
        }

    @property
    def stock_path(self) -> str:
        """Store or table of stocks; default: next to the cube."""
        ending = ".csv" if self.stock.of == "points" else ".zarr"
        return self.stock.output or _sibling(self.cube.path, f"_stock{ending}")


AnyCatalog = Catalog | MapCatalog


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
    return raw_catalog(path, overrides, {}, Catalog.model_fields).get("points") is not None


def _sibling(path: str, suffix: str) -> str:
    return path.rstrip("/").removesuffix(".zarr") + suffix
