"""Map sections: the parts of a catalog that learns from points and maps."""

from __future__ import annotations

from hmx.bounds import FilePath
from hmx.map_options import MapperOptions
from hmx.map_train_options import MapTrainOptions
from hmx.mapping_options import MapOptions, MapScoreOptions
from hmx.split_options import SplitOptions


class MapModelSection(MapperOptions):
    """The network, and the folder its bundle is saved in."""

    path: FilePath | None = None


class MapTrainSection(MapTrainOptions):
    """The fit, how samples are split, and the mapper that it starts from."""

    split: SplitOptions = SplitOptions()
    init_from: FilePath | None = None


class MapEvaluateSection(MapScoreOptions):
    """The scores, and the folder they are written to."""

    output: FilePath | None = None


class MapSection(MapOptions):
    """The map, the store it is written to, and a folder for it as GeoTIFFs."""

    output: FilePath | None = None
    cog: FilePath | None = None
