"""What can be chosen about a mapper, its training and a map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hmx.parsing import Count, Numbers, Options

Loss = Literal["l1", "mse", "composite_l1", "composite_l2", "huber", "quantile"]
TargetTransform = Literal["none", "log", "log1p", "normalize"]

# What makes a network the one of the soil carbon study that this job goes back to.
_REFITTED: dict[str, Any] = {
    "widths": (32, 64),
    "hidden": 128,
    "layers": 2,
    "bidirectional": False,
    "attention": (),
    "pool": (1, 2),
    "skip": False,
}


class MapperOptions(Options):
    """The network.

    Parameters
    ----------
    arch : {"cnn_lstm", "refitted_covlstm"}
        Convolutions for each step, then an LSTM over the steps. The second is the
        network of an earlier study as it was; its ``widths``, ``hidden``, ``layers``
        and so on are fixed.
    window : int
        Odd side of the window around a point, px.
    history : int, optional
        Steps the network sees, the last of them that of the sample. Default: all of
        a climatology, 5 of a calendar.
    widths : tuple of int
        Channels of the convolutions: 3 x 3 as long as the window has room for it, the
        last as wide as what the others leave of the window.
    hidden, layers : int
        Channels and layers of the LSTM.
    bidirectional : bool
        Whether the LSTM reads the steps both ways.
    attention : tuple of {"temporal", "spatial"}
        What is weighed by attention: the LSTM's states, and the pixels of a window.
    pool : tuple of int
        After which convolutions (1, 2 ...) features are pooled by 2; for wide windows.
    coarse : tuple of int
        Half-widths, px, of squares whose means the network is shown beside each pixel.
    skip : bool
        Whether a linear function of the centre pixel's values is added.
    dropout : float
        Share of features dropped in training.
    knots : tuple of float
        Probabilities of a quantile head; empty for one number.
    """

    arch: Literal["cnn_lstm", "refitted_covlstm"] = "cnn_lstm"
    window: Count = 5
    history: Count | None = None
    widths: tuple[Count, ...] = (24, 48, 48)
    hidden: Count = 48
    layers: Count = 1
    bidirectional: bool = False
    attention: tuple[Literal["temporal", "spatial"], ...] = ()
    pool: tuple[Count, ...] = ()
    coarse: tuple[Count, ...] = ()
    skip: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    knots: Numbers = ()

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("arch") == "refitted_covlstm":
            return {**_REFITTED, "dropout": 0.25, **values}
        return values

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"a window has a centre, so its side is odd. Try {window + 1}.")
        return window

    @field_validator("widths")
    @classmethod
    def _some(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not widths:
            raise ValueError("a network has at least one convolution. Try [24, 48, 48].")
        return widths

    @field_validator("knots")
    @classmethod
    def _ascend(cls, knots: tuple[float, ...]) -> tuple[float, ...]:
        inside = all(0 < knot < 1 for knot in knots)
        if knots and (not inside or 0.5 not in knots or sorted(set(knots)) != list(knots)):
            raise ValueError(
                "knots are ascending probabilities between 0 and 1 with 0.5 among them. Try "
                "[0.05, 0.25, 0.5, 0.75, 0.95], or [] for one number."
            )
        return knots

    @model_validator(mode="after")
    def _fits(self) -> MapperOptions:
        if self.arch == "refitted_covlstm":
            for name, fixed in _REFITTED.items():
                if getattr(self, name) != fixed:
                    raise ValueError(
                        f"{name} of arch='refitted_covlstm' is {fixed!r} and cannot be chosen. "
                        f"Leave {name} out, or take arch='cnn_lstm'."
                    )
            if self.window < 4:
                raise ValueError(
                    f"window={self.window} is pooled twice by arch='refitted_covlstm', which "
                    "leaves nothing of it. Try window=5."
                )
        else:
            self.kernels()
        return self

    def kernels(self) -> tuple[int, ...]:
        """Return the side of each convolution of ``cnn_lstm``, px of its own input.

        The last leaves one pixel of a window. Before a pool a convolution is one wider
        where that makes the side even, so that nothing of a window is dropped.
        """
        side, kernels = self.window, []
        for number in range(1, len(self.widths) + 1):
            last, pooled = number == len(self.widths), number in self.pool
            kernel = side if last else min(3, side)
            if pooled and (side - kernel) % 2 == 0:
                kernel += 1 if side > kernel else -1
            if not kernel or (last and pooled):
                raise ValueError(
                    f"pool={list(self.pool)} leaves nothing of window={self.window} after "
                    f"convolution {number}. Pool earlier, or widen the window."
                )
            kernels.append(kernel)
            side = (side - kernel + 1) // (2 if pooled else 1)
        if max(self.pool, default=0) > len(self.widths):
            raise ValueError(
                f"pool={list(self.pool)} names a convolution beyond the {len(self.widths)} of "
                f"widths={list(self.widths)}. Try pool=[1]."
            )
        return tuple(kernels)


class MapOptions(Options):
    """A map.

    Parameters
    ----------
    level : tuple of float
        Central prediction intervals, percent.
    time : int or str, optional
        Date of the map: a year or an ISO date; ``year`` means the same. Default: the
        last step. The steps up to it are what the network sees.
    tile : int, optional
        Side of a tile, the piece that one task computes, px. Default: decided from
        the chunk.
    chunk : int, optional
        Side of an output chunk, px; a tile is a whole number of chunks, so that no
        two tasks share one. Default: 512, or a whole part of the tile.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    level: Numbers = ()
    time: int | str | None = None
    tile: Count | None = None
    chunk: Count | None = None
    device: str = "auto"

    @model_validator(mode="before")
    @classmethod
    def _year(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("year") is None:
            return values
        if values.get("time") is not None:
            raise ValueError(
                f"year={values['year']!r} and time={values['time']!r} both name the date of the "
                "map. Pass one of them."
            )
        rest = {key: value for key, value in values.items() if key != "year"}
        return {**rest, "time": values["year"]}

    @field_validator("level")
    @classmethod
    def _percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < level < 100 for level in levels):
            raise ValueError("a level is a percentage between 0 and 100. Try 90.")
        return tuple(sorted(set(levels)))

    @model_validator(mode="after")
    def _whole_chunks(self) -> MapOptions:
        if self.tile and self.chunk and self.tile % self.chunk:
            whole = self.chunk * max(1, round(self.tile / self.chunk))
            raise ValueError(
                f"tile={self.tile} is no whole number of chunks (chunk={self.chunk}), so two tasks "
                f"would share one. Try tile={whole}."
            )
        return self
