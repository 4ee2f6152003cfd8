"""Spec: a network and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hmx.cube.cube import Cube
from hmx.errors import BundleError
from hmx.features.context import Context
from hmx.features.scaling import Transform
from hmx.networks.options import ModelOptions


@dataclass(frozen=True)
class Spec:
    """A network and its inputs."""

    target: str  # variable that is predicted
    dynamic: tuple[str, ...]  # covariates with and without time
    static: tuple[str, ...]
    network: ModelOptions  # options of the network
    h: int  # leads of the training; later ones are forecast from the network's own mean
    cadence: str  # calendar step between maps, in words
    pixel_size_m: tuple[float, float]  # width and height of a pixel on the ground, metres
    valid_range: tuple[float, float] | None = None  # bounds of the target, native units
    units: str | None = None  # of the target
    # Channels that are derived from the target and the static covariates
    context: Context = field(default=Context(radii=(), distance=False))
    # Dynamic covariates that are known at the leads; they come first in ``dynamic``
    future: tuple[str, ...] = ()
    # Applied to covariates before they are scaled
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    members: int = 1  # networks of an ensemble

    def __post_init__(self) -> None:
        # a spec has a number where options leave the history open: bundles store it
        number = {"history": self.network.past_steps}
        object.__setattr__(self, "network", self.network.model_copy(update=number))

    @property
    def channels(self) -> tuple[int, int, int]:
        """Dynamic, static and known-ahead channels; the first two bring their validity."""
        derived = len(self.context.names(self.target))
        return (
            len(self.dynamic) + bool(self.dynamic),
            len(self.static) + bool(self.static) + derived,
            len(self.future),
        )

    def static_names(self) -> list[str]:
        """Return the names of the static channels: covariates, their validity, context."""
        known = ["known"] if self.static else []
        return [*self.static, *known, *self.context.names(self.target)]

    def require_fits(self, cube: Cube) -> None:
        """Raise BundleError if the cube differs from training in cadence, pixel size or units."""

        def metres(size: tuple[float, float]) -> str:
            return f"{size[0]:.0f} x {size[1]:.0f} m"

        if str(cube.cadence) != self.cadence:
            raise BundleError(
                f"the model steps by {self.cadence} and the cube by {cube.cadence}. "
                "Train on a cube of this cadence, or select steps with ds.sel(time=...)."
            )
        size = cube.grid.pixel_size_m
        # 10 %: in degrees, the size of a pixel in metres depends on the latitude
        if not np.allclose(size, self.pixel_size_m, rtol=0.1):
            raise BundleError(
                f"the model was trained on pixels of {metres(self.pixel_size_m)} and the cube has "
                f"{metres(size)}. Resample the cube, or train on its own pixels."
            )
        units = cube.data[self.target].attrs.get("units")
        if None not in (units, self.units) and units != self.units:
            raise BundleError(
                f"the model predicts {self.target!r} in {self.units!r} and the cube holds it in "
                f"{units!r}. Convert it, and set ds[{self.target!r}].attrs['units']."
            )
        cube.require_history(self.network.past_steps)
