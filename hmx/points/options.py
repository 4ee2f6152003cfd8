"""Options: a table of samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hmx.settings import Options, ValidRange


def _as_texts(value: Any) -> Any:
    """Turn one text into a list."""
    return [value] if isinstance(value, str) else value


def _as_crs(value: Any) -> Any:
    """Write a CRS object, or the number of one, as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"EPSG:{value}"
    return value.to_wkt() if hasattr(value, "to_wkt") else value


# A map has variables, dims and coordinates of these names: a target of the same name would
# overwrite them.
RESERVED = frozenset({
    "quality", "applicable", "dissimilarity", "time", "x", "y", "lat", "lon", "latitude",
    "longitude", "spatial_ref", "quantile", "band", "depth",
})  # fmt: skip


def _as_codes(value: Any) -> Any:
    """Turn one code into a list."""
    return [value] if isinstance(value, str | int | float) else value


def _as_separator(value: Any) -> Any:
    """Turn the name of a separator into its character."""
    if not isinstance(value, str):
        return value
    value = _SEPARATORS.get(value.lower(), value)
    if len(value) != 1 or value.isalnum() or value in '\r\n"':
        raise ValueError("a separator is one character between fields, tab or blank. Try ';'")
    return value


_SEPARATORS = {
    "tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " ", "comma": ",",
    "semicolon": ";", "bar": "|", "pipe": "|", "\\s+": " ",
}  # fmt: skip


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
        Of the coordinates, if the table has none.
    date : str, optional
        Column of sampling dates: ISO dates, or years, which mean their last step.
    top, bottom : str, optional
        Columns of the depth of each sample, cm below the surface: depth becomes a covariate.
    site : str, optional
        Column of sites. Default: samples of one pixel are one site.
    where : tuple of str
        Filters, all of which a row must pass: column, comparison, value.
    units : str, optional
        Of the target.
    units_column : str, optional
        Column of the unit of each row (g/kg, %, mg/kg ...): values are converted to ``units``.
    table_units : str, optional
        Unit of all rows, if it is not ``units``: values are converted.
    valid_range : tuple of float, optional
        Smallest and largest valid value of the target; rows beyond are left out.
    layer : str, optional
        Layer or sheet of a file with several.
    separator : str, optional
        Between fields of a table of text: one character, ``tab`` or ``blank``. Default:
        detected.
    decimal : {".", ","}, optional
        Decimal sign of numbers stored as text. Default: detected in a table of text.
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
    top: str | None = None
    bottom: str | None = None
    site: str | None = None
    where: Annotated[tuple[str, ...], BeforeValidator(_as_texts)] = ()
    units: str | None = None
    units_column: str | None = None
    table_units: str | None = None
    valid_range: ValidRange | None = None
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

    @model_validator(mode="after")
    def _both(self) -> PointsOptions:
        if (self.x is None) != (self.y is None):
            given, other = ("x", "y") if self.y is None else ("y", "x")
            raise ValueError(f"{given} is given and {other} is not. Name both columns")
        if (self.top is None) != (self.bottom is None):
            given, other = ("top", "bottom") if self.bottom is None else ("bottom", "top")
            raise ValueError(f"{given} is given and {other} is not. Name both columns of depths")
        return self
