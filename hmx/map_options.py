"""What can be chosen about a mapper, its training and a map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hmx.bounds import Channels, Depth, Leads, Radius
from hmx.parsing import Numbers, Options

Loss = Literal["l1", "mse", "composite_l1", "composite_l2", "huber", "quantile"]
TargetTransform = Literal["none", "log", "log1p", "normalize"]

# Names that a map has already: its other variables, dims and coordinates.
RESERVED = frozenset({
    "quality", "applicable", "dissimilarity", "time", "x", "y", "lat", "lon", "latitude",
    "longitude", "spatial_ref", "quantile", "band",
})  # fmt: skip

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


def _as_texts(value: Any) -> Any:
    """Take one text for a list of one."""
    return [value] if isinstance(value, str) else value


def _as_codes(value: Any) -> Any:
    """Take one code for a list of one."""
    return [value] if isinstance(value, str | int | float) else value


_SEPARATORS = {
    "tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " ", "comma": ",",
    "semicolon": ";", "bar": "|", "pipe": "|", "\\s+": " ",
}  # fmt: skip


def _as_separator(value: Any) -> Any:
    """Take the name of a separator for the character."""
    if not isinstance(value, str):
        return value
    value = _SEPARATORS.get(value.lower(), value)
    if len(value) != 1 or value.isalnum() or value in '\r\n"':
        raise ValueError("a separator is one character between fields, tab or blank. Try ';'")
    return value


def _as_crs(value: Any) -> Any:
    """Write a CRS object, or the number of one, as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"EPSG:{value}"
    return value.to_wkt() if hasattr(value, "to_wkt") else value


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
        Whether a linear function of the centre pixel's values and the window's means is
        added.
    dropout : float
        Share of features dropped in training.
    knots : tuple of float
        Probabilities of a quantile head; empty for one number.
    """

    arch: Literal["cnn_lstm", "refitted_covlstm"] = "cnn_lstm"
    window: Annotated[int, Field(ge=1, le=255, strict=True)] = 5
    history: Leads | None = None
    widths: Annotated[tuple[Channels, ...], Field(max_length=64)] = (24, 48, 48)
    hidden: Channels = 48
    layers: Depth = 1
    bidirectional: bool = False
    attention: tuple[Literal["temporal", "spatial"], ...] = ()
    pool: Annotated[tuple[Depth, ...], Field(max_length=64)] = ()
    coarse: Annotated[tuple[Radius, ...], Field(max_length=32)] = ()
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


# points -------------------------------------------------------------------------------


class PointsOptions(Options):
    """A table of samples: what its columns mean, and which rows count.

    Parameters
    ----------
    target : str
        Column of the sampled quantity.
    x, y : str, optional
        Columns of the coordinates. Default: the geometry, or columns named ``lon`` and
        ``lat``, ``x`` and ``y``, ``easting`` and ``northing``.
    crs : str, optional
        Of the coordinates, where the table does not say it itself.
    date : str, optional
        Column of sampling dates: ISO dates, or years, which mean their last step.
    site : str, optional
        Column of sites. Default: samples of one pixel are one site.
    where : tuple of str
        Filters, all of which a row must pass: column, comparison, value.
    units : str, optional
        Of the target.
    valid_range : tuple of float, optional
        Smallest and largest valid value of the target; rows beyond are left out.
    layer : str, optional
        Layer or sheet of a file with several.
    separator : str, optional
        Between fields of a table of text: one character, ``tab`` or ``blank``. Default:
        found out.
    decimal : {".", ","}, optional
        Sign in numbers that stand as text. Default: found out, of a table of text.
    encoding : str, optional
        Of text. Default: by byte order mark, else UTF-8, else cp1252.
    missing : tuple of float or str
        Codes that mean missing, in target, coordinates and dates.
    id : str, optional
        Column that names rows in reports. Default: the first of unique values that is
        called ``id``, ``profile_id`` or alike.
    min_valid : float
        Least share of a sample's window, over bands, steps and pixels, that is known.
    """

    target: str = "soc"
    x: str | None = None
    y: str | None = None
    crs: Annotated[str | None, BeforeValidator(_as_crs)] = None
    date: str | None = None
    site: str | None = None
    where: Annotated[tuple[str, ...], BeforeValidator(_as_texts)] = ()
    units: str | None = None
    valid_range: tuple[float, float] | None = None
    layer: str | None = None
    separator: Annotated[str | None, BeforeValidator(_as_separator)] = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    missing: Annotated[tuple[float | str, ...], BeforeValidator(_as_codes)] = ()
    id: str | None = None
    min_valid: Annotated[float, Field(ge=0, le=1)] = 0.5

    @field_validator("target")
    @classmethod
    def _free(cls, target: str) -> str:
        if target.lower() in RESERVED:
            raise ValueError(
                f"a map holds a variable or dimension {target.lower()!r} of its own, so no target "
                "is called that. Rename the column, e.g. to 'soc'"
            )
        return target

    @field_validator("valid_range")
    @classmethod
    def _ascending(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and limits[0] >= limits[1]:
            raise ValueError(f"the range ascends. Try [{limits[1]:g}, {limits[0]:g}]")
        return limits

    @model_validator(mode="after")
    def _both(self) -> PointsOptions:
        if (self.x is None) != (self.y is None):
            given, other = ("x", "y") if self.y is None else ("y", "x")
            raise ValueError(f"{given} is given and {other} is not. Name both columns")
        return self
