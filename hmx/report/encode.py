"""Encode: maps as whole numbers of a quantum, compressed into text that a page can hold.

The quantum is a power of ten, so a page that writes a number with that many decimals writes the
number of the store, rounded. Each plane is stored as its difference from the plane before it: the
next percentile of a pixel is mostly the same, and so is the next map. Low and high bytes stand
apart, which deflate compresses better. The scripts of the page undo this in ``data.js``.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = -32768  # code of pixels without data
_CODES = 32767  # on either side of zero
_EFFORT = 6  # of zlib: 9 takes three times as long for 2 % less

Codes = NDArray[np.int16]
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scale:
    """How values become whole numbers: value = (base + code) * 10^-digits."""

    digits: int
    base: int

    @classmethod
    def of(cls, low: float, high: float) -> Scale:
        """Choose a quantum between a thousandth and a ten-thousandth of the range."""
        if not high > low:  # one value, or none
            low, high = (low, low + 1) if math.isfinite(low) else (0.0, 1.0)
        digits = 4 - math.ceil(math.log10(high - low) - 1e-9)
        size = 10.0**digits
        far = max(abs(low), abs(high)) * size > _CODES
        return cls(digits, round((low + high) / 2 * size) if far else 0)

    @property
    def quantum(self) -> float:
        """What one code stands for, native units."""
        return float(10.0**-self.digits)

    def encode(self, values: Array) -> Codes:
        """Round values to codes; NaN becomes ``MISSING``."""
        # float32 would round twice, and a tie the other way
        scaled = np.rint(values * np.float64(10.0**self.digits)) - self.base
        codes: Codes = np.clip(np.nan_to_num(scaled, nan=0.0), -_CODES, _CODES).astype(np.int16)
        codes[np.isnan(values)] = MISSING
        return codes

    def decode(self, codes: Codes) -> NDArray[np.float64]:
        """Return the values that a page reads from codes."""
        values = (codes.astype(np.float64) + self.base) / 10.0**self.digits
        return np.where(codes == MISSING, np.nan, values)


def pack(planes: Codes, before: Codes | None = None) -> str:
    """Compress planes (n, y, x) into base64, each less the plane before it."""
    first = planes[:1] if before is None else planes[:1] - before
    # differences wrap around in 16 bits, and sums in the page wrap back
    steps = np.concatenate([first, planes[1:] - planes[:-1]])
    halves = np.ascontiguousarray(steps, "<i2").view(np.uint8).reshape(-1, 2).T
    return _text(np.ascontiguousarray(halves).tobytes())


def pack_bytes(plane: NDArray[np.uint8]) -> str:
    """Compress a plane of flags into base64."""
    return _text(np.ascontiguousarray(plane).tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, _EFFORT)).decode("ascii")
