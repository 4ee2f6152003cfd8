"""What can be chosen about a map."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from hmx.map_train_options import renamed
from hmx.parsing import Count, Numbers, Options


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
