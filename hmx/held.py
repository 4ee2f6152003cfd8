"""Held: what an accessor keeps of the object it stands on.

That object, and the model that ``train`` made of it, so that ``ds.hm.forecast(h=4)``
can follow. Nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmx.errors import NotTrained

if TYPE_CHECKING:
    from hmx.bundle import Bundle
    from hmx.cadence import Cadence
    from hmx.cube import Cubelike
    from hmx.grid import Grid


class Held:
    """An object, its grid and cadence, and the model that was trained on it.

    Parameters
    ----------
    obj : Dataset or DataArray
        Dims time, y, x under any of their usual names.
    """

    def __init__(self, obj: Cubelike):
        self._obj = obj
        self._model: Bundle | None = None

    @property
    def grid(self) -> Grid:
        """CRS, transform and shape of the cube, north-up."""
        from hmx.cube import enter

        return enter(self._obj, dynamic=(), static=()).grid

    @property
    def cadence(self) -> Cadence:
        """The calendar step between two maps, as ``5 years``."""
        from hmx.cube import enter

        return enter(self._obj, dynamic=(), static=()).cadence

    def _trained(self) -> Bundle:
        if self._model is None:
            raise NotTrained(
                "this object has not trained a model. Pass one: forecast(h=4, "
                "model='models/demo'), or call train() on this very object first "
                "(ds['hm'] is a new object each time)."
            )
        return self._model
