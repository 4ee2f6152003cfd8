"""Base: what a network is, what it may not do, and how one is added.

A forecast is computed tile by tile, and must not depend on the tiles. So a network is local
and the same everywhere: an output pixel depends on the inputs at most ``reach`` px away, and a
shifted input gives the shifted output. Therefore a network has **no**

- *pooling, striding or upsampling*: a coarse cell starts at the corner of the tile, so
  each pixel would see where its tile begins;
- *normalisation over pixels* (BatchNorm, InstanceNorm, GroupNorm, LayerNorm over y or x):
  the mean of a tile is a property of the tile;
- *attention over the tile*, global means or coordinates: every pixel would see all of its
  tile, whatever its size;
- *circular padding*: a pixel would see the opposite border of the tile.

Dilated convolutions of stride 1 see as far as pooling does, and normalisation over
channels is allowed. A network that breaks the rule is refused by name when it is built:
its modules are listed, and networks from outside this package are also run once on a small
window, which finds what a list of modules cannot show, such as ``functional.max_pool2d``
(:mod:`hmx.networks.local`).

A network is one file::

    @network("unet")
    class UNet(Stacked):  # of hmx.networks.dilated: all steps of the history at once
        def __init__(self, options, frame, constant):
            super().__init__(options.past_steps, Layers(frame * options.past_steps + constant))

        @staticmethod
        def reach(options, looks):
            return 7 * looks

        @staticmethod
        def cost(options, frame, constant, looks):
            return BodyCost(multiply_adds=..., outputs=..., channels=..., inputs=...)

A network of convolutions of stride 1, LSTM gates and residual sums alone can describe itself as
its layers (:meth:`Body.layers`) in place of ``reach`` and ``cost``, which then follow, and
inference streams its rows through all layers.

A network can start from the weights of another model. The scaler is then fitted to the new
data, in both jobs. A network works on z-scores and on usual changes, so what it has learnt
carries over to data of another level and spread only if these are measured anew (Li et al.
2016, arXiv:1603.04779, re-estimate the statistics of a new domain for the same reason).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import getattr_static
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hmx.errors import BadArgument
from hmx.features.scaling import Scaler
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.networks.registry import MAPPERS, NETWORKS
from hmx.networks.stream.graph import Architecture, Graph, unroll
from hmx.windows import Window

MapperT = TypeVar("MapperT", bound=type[nn.Module])


class BodyCost(NamedTuple):
    """What a body takes for one pixel.

    Parameters
    ----------
    multiply_adds : int
        Of all its convolutions, over the whole history and all looks.
    outputs : int
        Channels of its features.
    channels : int
        Channels of the widest tensor inside.
    inputs : int
        Channels of the widest input of a convolution larger than 1 x 1.
    """

    multiply_adds: int
    outputs: int
    channels: int
    inputs: int


class Body(nn.Module):
    """A network of the forecast job: it reads the history and gives features.

    It is built as ``Body(options, frame, constant)`` with the channels of one step and
    of what does not change. A head of 1 x 1 layers turns its features into distributions
    (:class:`hmx.networks.forecaster.Forecaster`). See this module for what it may not do.

    Attributes
    ----------
    outputs : int
        Channels of the features.
    needs_trunk : bool
        True if ``trunk=[]`` leaves nothing of the network.
    """

    outputs: int
    needs_trunk: bool = False

    def push(self, frame: Tensor, constant: Tensor, state: Any) -> Any:
        """Add one step to the state.

        Parameters
        ----------
        frame : Tensor
            Target and dynamic covariates of the step, (b, frame, y, x).
        constant : Tensor
            Static covariates, (b, constant, y, x).
        state : object
            What this method returned for the step before; None at the first step.
        """
        raise NotImplementedError

    def features(self, state: Any, constant: Tensor) -> Tensor:
        """Compute features of the last step, (b, outputs, y, x)."""
        raise NotImplementedError

    def part(self, frames: Sequence[Tensor], constant: Tensor, part: Window) -> Tensor:
        """Compute features of the last step at a part of a window, (b, outputs, y, x).

        A network may compute fewer pixels for it than for all, as training asks for: see
        :mod:`hmx.networks.part`. By default it computes all.
        """
        state: Any = None
        for frame in frames:
            state = self.push(frame, constant, state)
        return self.features(state, constant)[(..., *part.slices)]

    @staticmethod
    def layers(options: ModelOptions) -> Architecture | None:
        """Describe the network as its layers, if it consists of such alone.

        Then it needs no :meth:`reach` and no :meth:`cost`, and inference streams its rows
        (:mod:`hmx.networks.stream`).
        """
        del options
        return None

    @classmethod
    def reach(cls, options: ModelOptions, looks: int) -> int:
        """Return how far an input pixel can influence an output pixel, px.

        Parameters
        ----------
        options : ModelOptions
            Of the network.
        looks : int
            Forecasts in a row, each fed with the one before: ``h`` of a recursive
            network, 1 of a direct one.
        """
        return max(cls._graph(options, 1, 1, looks).margins.values())

    @classmethod
    def cost(cls, options: ModelOptions, frame: int, constant: int, looks: int) -> BodyCost:
        """Count operations and channels; integers only, without building the network."""
        graph = cls._graph(options, frame, constant, looks)
        layers = {i: graph.nodes[i].layer for i in graph.margins if graph.nodes[i].convolves}
        return BodyCost(
            multiply_adds=sum(graph.multiply_adds(i) for i in layers),
            outputs=graph.inputs(max(graph.margins)),
            channels=max(max(layer.convolved, graph.inputs(i)) for i, layer in layers.items()),
            inputs=max(graph.inputs(i) for i in layers),
        )

    @classmethod
    def _graph(cls, options: ModelOptions, frame: int, constant: int, looks: int) -> Graph:
        described = cls.layers(options)
        assert described is not None, "a body without layers() has reach() and cost()"
        nodes = unroll(described, frame, constant, history=options.past_steps, looks=looks)
        return Graph(nodes, Window.of((1, 1)), Window.of((1, 1)))

    @staticmethod
    def describe(options: ModelOptions) -> list[str]:
        """Return what decides the network's size, in words for ``hmx info``."""
        del options
        return []


BodyT = TypeVar("BodyT", bound=type[Body])


def network(name: str) -> Callable[[BodyT], BodyT]:
    """Register a network of the forecast job, as a decorator of its class.

    Parameters
    ----------
    name : str
        What ``arch`` names it by. Bundles store the name, so it never changes.

    Raises
    ------
    BadArgument
        If the name is taken, or the class is not a :class:`Body` with all its parts.
    """

    def register(kind: BodyT) -> BodyT:
        if not issubclass(kind, Body):
            raise BadArgument(f"@network({name!r}): {kind.__name__} is not a Body. Derive it.")
        described = _given(kind, "layers")
        for part in ("push", "features") if described else ("push", "features", "reach", "cost"):
            if not _given(kind, part):
                raise BadArgument(
                    f"@network({name!r}): {kind.__name__} has no {part}(). Write one as "
                    f"hmx.networks.base.Body.{part} describes it."
                )
        NETWORKS.add(name, kind)
        return kind

    return register


def _given(kind: type[Body], part: str) -> bool:
    """Return True if a network has a part of its own, or of a network that it derives from."""
    return getattr_static(kind, part) is not getattr_static(Body, part)


def mapper(name: str) -> Callable[[MapperT], MapperT]:
    """Register a network of the map job, as a decorator of its class.

    Its windows are cut around each pixel, so it may pool inside them.
    """

    def register(kind: MapperT) -> MapperT:
        MAPPERS.add(name, kind)
        return kind

    return register


def layers_of(options: ModelOptions) -> Architecture | None:
    """Describe a network as its layers, or return None if it cannot be streamed.

    A class that derives from a described network may compute something else, so only its own
    description counts.
    """
    kind = body_class(options.arch)
    return kind.layers(options) if "layers" in vars(kind) else None


def body_class(arch: str) -> type[Body]:
    """Import the class of a network of the forecast job.

    Raises
    ------
    BadArgument
        If there is none, or its package cannot be imported.
    """
    found: type[Body] = NETWORKS.find(arch)
    return found


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
        """Leads the network is trained for."""

    @property
    def valid_range(self) -> tuple[float, float] | None:
        """Bounds of the target, native units."""

    @property
    def channels(self) -> tuple[int, int, int]:
        """Dynamic, static and known-ahead channels, their validity channels included."""


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
        """Time steps."""

    @property
    def channels(self) -> tuple[int, int]:
        """Dynamic and static channels, their validity channels included."""


class MapperModel(Protocol):
    """A trained model of the map job."""

    @property
    def spec(self) -> MapperSpec:
        """What its networks are fed with."""

    def member(self, index: int) -> Mapping[str, np.ndarray]:
        """Return the weights of one network, by parameter name."""


def copy_weights(
    network: nn.Module, weights: Mapping[str, np.ndarray], names: Iterable[str]
) -> None:
    """Copy named weights of another network into a network, in place."""
    taken = {name: torch.from_numpy(weights[name].copy()) for name in names}
    network.load_state_dict({**network.state_dict(), **taken})


def require_units(
    path: object, target: str, *, had: str | None, has: str | None, data: str
) -> None:
    """Refuse a start whose target is in other units than the ``data``, if both are known."""
    if None not in (had, has) and had != has:
        raise BadArgument(
            f"init_from={str(path)!r} was trained on {target!r} in {had!r}, "
            f"and the {data} are in {has!r}. Convert the {data}, or correct units=."
        )
