"""MapSpec: the network of a mapper, its bands and its scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hmx.features.scaling import Transform
from hmx.mapping.options import Regression
from hmx.networks.options import MapperOptions

_REGRESSIONS = {"gaussian_process": "Gaussian process", "forest": "forest"}
DEPTH = ("depth[top]", "depth[bottom]")  # channels of the depth of a sample, cm


@dataclass(frozen=True)
class BandScaler:
    """Mean and spread of each band, native units, from training samples alone.

    A dynamic band of a climatology has one number for each step, other bands have one.
    """

    mean: Mapping[str, tuple[float, ...]]
    std: Mapping[str, tuple[float, ...]]  # 1 where a band is constant


@dataclass(frozen=True)
class MapSpec:
    """The network of a mapper, its bands and its output."""

    target: str  # name of the quantity
    dynamic: tuple[str, ...]  # bands with and without time
    static: tuple[str, ...]
    network: MapperOptions  # as built
    steps: int  # time steps that the network takes
    climatology: bool  # whether the steps are those of every year (months 1-12), or a calendar's
    cadence: str  # calendar step, in words
    pixel_size_m: tuple[float, float]  # width and height of a pixel on the ground, metres
    units: str | None = None  # of the target
    valid_range: tuple[float, float] | None = None  # bounds of the target, native units
    members: int = 1  # networks of an ensemble
    blend: float = 0.0  # weight of the regression in the mean of networks and regression
    regression: Regression = "none"  # of the pixel's own values: what is blended in
    # Transforms of bands before they are scaled
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    # Smallest share of a window, over bands, steps and pixels, with data, for a sample to be
    # trained on and a pixel to be mapped
    min_valid: float = 0.5
    # Codes of each band of classes: one plane of 0 and 1 for each
    categories: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # Whether the depth of a sample is an input: its top and bottom, the last static channels
    depth: bool = False

    @property
    def margin(self) -> int:
        """Pixels of a window on each side of its centre."""
        return self.network.window // 2

    @property
    def halo(self) -> int:
        """Pixels read around a pixel, for its window and its neighbourhood means."""
        return self.margin + max(self.network.coarse, default=0)

    @property
    def channels(self) -> tuple[int, int]:
        """Dynamic and static channels of the network's inputs, with the mask of known pixels."""
        mask, scales = 1, 1 + len(self.network.coarse)
        kinds = (self.planes(self.dynamic), self.planes(self.static))
        dynamic, static = (len(planes) * scales for planes in kinds)
        static += len(DEPTH) * self.depth
        return dynamic + mask * bool(dynamic), static + mask * bool(static)

    def planes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Repeat the name of each band of classes for every class."""
        return tuple(name for name in names for _ in self.categories.get(name, (0,)))

    @property
    def features(self) -> tuple[str, ...]:
        """Band of each value of a pixel: of every step and scale, then static ones."""
        scales = 1 + len(self.network.coarse)
        dynamic, static = self.planes(self.dynamic), self.planes(self.static)
        # both ends of a depth are one band, so that importance counts them together
        depth = ("depth",) * (len(DEPTH) * self.depth)
        return dynamic * (scales * self.steps) + static * scales + depth


def parts_of(regression: Regression) -> tuple[str, ...]:
    """Name the single regressions of a blend; they count alike."""
    return {"both": tuple(_REGRESSIONS), "none": ()}.get(regression, (regression,))


def words_of(regression: Regression, article: str = "a ") -> str:
    """Name the regressions of a blend in words, such as ``a Gaussian process and a forest``."""
    named = (f"{article}{_REGRESSIONS[part]}" for part in parts_of(regression))
    return " and ".join(named) or "no regression"
