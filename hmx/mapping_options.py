"""What can be chosen about a map."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hmx.bounds import Side
from hmx.map_train_options import renamed
from hmx.parsing import Numbers, Options
from hmx.split_options import SplitMethod


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_label(value: Any) -> Any:
    """Write a date as text: YAML reads 2015-06-30 as one."""
    return value.isoformat()[:10] if hasattr(value, "isoformat") else value


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
    time: Annotated[int | str | None, BeforeValidator(_as_label)] = None
    tile: Side | None = None
    chunk: Side | None = None
    device: str = "auto"

    @model_validator(mode="before")
    @classmethod
    def _year(cls, values: Any) -> Any:
        return renamed(values, {"year": "time"})

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


class MapScoreOptions(Options):
    """What a mapper is scored on, beside the split of its training.

    Parameters
    ----------
    beside : tuple of str
        Other methods of splitting, each told beside the one that is judged by.
    level : tuple of float
        Central intervals whose coverage is told, percent.
    inner : int
        Inner folds of each training part that intervals are learnt from; 0 for the
        other outer folds, at no cost.
    """

    beside: Annotated[tuple[SplitMethod, ...], BeforeValidator(_as_list)] = ("random",)
    level: Numbers = (50.0, 80.0, 90.0)
    inner: Annotated[int, Field(ge=0, le=1000)] = 0

    @field_validator("beside")
    @classmethod
    def _possible(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            if method in ("distance", "regions"):
                raise ValueError(
                    f"{method!r} needs more than its name. Judge by it: train.split: "
                    f"{{method: {method}, ...}}."
                )
        return methods

    @field_validator("level")
    @classmethod
    def _percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not levels or any(not 0 < level < 100 for level in levels):
            raise ValueError("a level is a percentage between 0 and 100. Try 90.")
        return tuple(sorted(set(levels)))
