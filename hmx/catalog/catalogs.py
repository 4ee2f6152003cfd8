"""Catalogs: the classes of both jobs, and how a file becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

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


class BaseCatalog(Options):
    """What catalogs of both jobs have; every path is absolute or a URL."""

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
    def zones_path(self) -> str:
        """Table of zones; default: next to the cube."""
        return self.zonal.output or _sibling(self.cube.path, "_zones.csv")

    @property
    def report_path(self) -> str:
        """File of the report; default: next to the cube."""
        return self.report.output or _sibling(self.cube.path, "_report.html")

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

    @model_validator(mode="after")
    def _another_start(self) -> Self:
        _require_another_start(self)
        return self

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
    def selection_path(self) -> str:
        """Folder of the selection of covariates; default: next to the cube."""
        return self.select.output or _sibling(self.cube.path, "_selection")

    @property
    def model_path(self) -> str:
        """Folder of the bundle; default: next to the cube."""
        return self.model.path or _sibling(self.cube.path, ".model")

    @property
    def predictions_path(self) -> str:
        """Table of predictions at points; default: next to the cube."""
        return self.predict.output or _sibling(self.cube.path, "_predictions.csv")

    @property
    def stock_path(self) -> str:
        """Store or table of stocks; default: next to the cube."""
        ending = ".csv" if self.stock.of == "points" else ".zarr"
        return self.stock.output or _sibling(self.cube.path, f"_stock{ending}")

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
    return raw_catalog(path, overrides, {}, Catalog.model_fields).get("points") is not None


def _sibling(path: str, suffix: str) -> str:
    return path.rstrip("/").removesuffix(".zarr") + suffix
