"""MapSpec: what a mapper is and what it must be fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hmx.features.transforms import Transform
from hmx.mapping.options import TargetTransform
from hmx.networks.options import MapperOptions


@dataclass(frozen=True)
class BandScaler:
    """Mean and spread of each band, taken from training samples alone.

    Parameters
    ----------
    mean, std : mapping of str to tuple of float
        Per band, native units; of a dynamic band of a climatology one number for
        each step, else one. ``std`` is 1 where a band is constant.
    """

    mean: Mapping[str, tuple[float, ...]]
    std: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class TargetScaler:
    """What the target goes through before the network, and back.

    Parameters
    ----------
    transform : str
        ``none``, ``log``, ``log1p`` or ``normalize``.
    mean, std : float
        Of the transformed training values.
    ratio : float
        Factor on the back-transformed values: sum of truths over sum of predictions on
        inner folds (1: none).
    """

    transform: TargetTransform = "none"
    mean: float = 0.0
    std: float = 1.0
    ratio: float = 1.0


@dataclass(frozen=True)
class MapSpec:
    """What a mapper is and what it must be fed.

    Parameters
    ----------
    target : str
        Name of the quantity.
    dynamic, static : tuple of str
        Bands with and without time.
    network : MapperOptions
        As built.
    steps : int
        Of time that the network sees.
    climatology : bool
        Whether the steps are those of every year (months 1-12), or a calendar's.
    cadence : str
        Calendar step, in words.
    pixel_size_m : tuple of float
        Width and height of a pixel on the ground, metres.
    units : str, optional
        Of the target.
    valid_range : tuple of float, optional
        Bounds of the target, native units.
    members : int
        Networks of an ensemble.
    blend : float
        Weight of the forest beside the networks.
    transforms : mapping of str to str
        What bands go through before they are scaled.
    min_valid : float
        Least share of a window, over bands, steps and pixels, that is known where
        something is learnt or mapped.
    """

    target: str
    dynamic: tuple[str, ...]
    static: tuple[str, ...]
    network: MapperOptions
    steps: int
    climatology: bool
    cadence: str
    pixel_size_m: tuple[float, float]
    units: str | None = None
    valid_range: tuple[float, float] | None = None
    members: int = 1
    blend: float = 0.0
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    min_valid: float = 0.5

    @property
    def margin(self) -> int:
        """Pixels that a window reaches beyond its centre."""
        return self.network.window // 2

    @property
    def halo(self) -> int:
        """True pixels read around a pixel: of window and neighbourhood means."""
        return self.margin + max(self.network.coarse, default=0)

    @property
    def channels(self) -> tuple[int, int]:
        """Dynamic and static channels that the network is shown."""
        known = 1  # where all bands are known
        scales = 1 + len(self.network.coarse)
        return (len(self.dynamic) * scales + known) if self.dynamic else 0, (
            len(self.static) * scales + known if self.static else 0
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Band of each value that a pixel has: of every step and scale, then static ones."""
        scales = 1 + len(self.network.coarse)
        return self.dynamic * (scales * self.steps) + self.static * scales
