"""Sections: what the parts of a catalog hold, beside the options of their job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from hmx.exports.options import ExportOptions
from hmx.forecast.options import BacktestOptions, ForecastOptions, TrainOptions
from hmx.ingest.options import Source
from hmx.mapping.options import MapOptions, MapScoreOptions, MapTrainOptions, PredictOptions
from hmx.mapping.select.options import SelectOptions
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.points.options import PointsOptions
from hmx.settings import FilePath, Options
from hmx.splits.options import SplitOptions
from hmx.zones.options import ZonalOptions


class MapModelSection(MapperOptions):
    """The network, and the folder its bundle is saved in."""

    path: FilePath | None = None


class MapTrainSection(MapTrainOptions):
    """The fit, the sources that it reads, how samples are split, the mapper that it starts from."""

    covariates: tuple[str, ...] | None = None  # default: all sources of the cube
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


class ExportSection(ExportOptions):
    """What is exported, the part of it, and the folder or file that it is written to."""

    region: tuple[float, float, float, float] | None = None
    output: FilePath | None = None


class ReportSection(Options):
    """The report: its file, and the size that it may have, MB."""

    output: FilePath | None = None
    budget: Annotated[float, Field(ge=1, le=1000)] = 25.0


class EvaluateSection(BacktestOptions):
    """The backtest, zones to score separately, and the folder of its scorecard."""

    zones: FilePath | None = None
    output: FilePath | None = None


class MapEvaluateSection(MapScoreOptions):
    """The scores, and the folder they are written to."""

    output: FilePath | None = None


class SelectSection(SelectOptions):
    """The selection of covariates, and the folder it is written to."""

    output: FilePath | None = None


class PredictSection(PredictOptions):
    """Predictions at points: the table of places, its columns, and the CSV that is written.

    A column that is not named is called as in ``points``, if the table has it.
    """

    points: FilePath | None = None
    output: FilePath | None = None
    x: str | None = None
    y: str | None = None
    crs: str | None = None
    date: str | None = None
    top: str | None = None
    bottom: str | None = None
    id: str | None = None
    layer: str | None = None


class MapSection(MapOptions):
    """The map, the store it is written to, and a folder for it as GeoTIFFs."""

    output: FilePath | None = None
    cog: FilePath | None = None


def _kind(given: Any) -> str:
    """Return which form a part of the formula of a stock was meant to have."""
    if isinstance(given, str):
        return "[name]"
    return "[raster]" if isinstance(given, dict | Source) else "[number]"


_Part = Annotated[
    Annotated[float, Field(ge=0, le=100_000), Tag("[number]")]
    | Annotated[str, Tag("[name]")]
    | Annotated[Source, Tag("[raster]")],
    Discriminator(_kind),
]
_Parts = Annotated[
    Annotated[_Part, Tag("[one]")]
    | Annotated[list[_Part], Field(min_length=1, max_length=100), Tag("[by depth]")],
    Discriminator(lambda given: "[by depth]" if isinstance(given, list) else "[one]"),
]


class StockSection(Options):
    """Stocks of carbon: what turns a concentration into t/ha, and the file that is written.

    A part is a number, the name of a source of the cube (of a map) or of a column (of points), or
    a raster, ``{path: bdod.tif, align: bilinear}``; of a map of several depths also a list.
    """

    of: Literal["map", "points"] = "map"
    bulk_density: _Parts | None = None
    coarse: _Parts = 0.0
    top: _Part | None = None
    bottom: _Part | None = None
    density_units: Literal["g/cm3", "kg/dm3", "t/m3", "kg/m3", "cg/cm3"] = "g/cm3"
    coarse_units: Literal["%", "1", "cm3/dm3"] = "%"
    output: FilePath | None = None
