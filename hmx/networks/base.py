"""Base: what a network asks of the model that it is a part of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from hmx.features.scaling import Scaler
from hmx.networks.options import MapperOptions, ModelOptions


class ForecastSpec(Protocol):
    """What a network of the forecast job is fed with."""

    @property
    def target(self) -> str:
        """Variable that is predicted."""

    @property
    def network(self) -> ModelOptions:
        """History, width, depth and the like."""

    @property
    def h(self) -> int:
        """Leads it is trained for."""

    @property
    def valid_range(self) -> tuple[float, float] | None:
        """Bounds of the target, native units."""

    @property
    def channels(self) -> tuple[int, int, int]:
        """Dynamic, static and known-ahead channels, those of validity included."""


class ForecastModel(Protocol):
    """A trained model of the forecast job."""

    @property
    def spec(self) -> ForecastSpec:
        """What its networks are fed with."""

    @property
    def scaler(self) -> Scaler:
        """From native units to the network's."""

    def member(self, index: int) -> Mapping[str, np.ndarray]:
        """Return the weights of one network, by parameter name."""


class MapperSpec(Protocol):
    """What a network of the map job is fed with."""

    @property
    def network(self) -> MapperOptions:
        """Window, width and the like."""

    @property
    def steps(self) -> int:
        """Steps of time."""

    @property
    def channels(self) -> tuple[int, int]:
        """Dynamic and static channels, those of validity included."""


class MapperModel(Protocol):
    """A trained model of the map job."""

    @property
    def spec(self) -> MapperSpec:
        """What its networks are fed with."""

    def member(self, index: int) -> Mapping[str, np.ndarray]:
        """Return the weights of one network, by parameter name."""
