"""Draws: possible maps, each pixel from its own distribution, all of them together.

A draw reads the quantile function of every pixel at a probability that varies smoothly over the
map (:mod:`.field`). What holds for the whole region, a shift of all pixels and the factor of the
tails, takes its values from sequences that fill the unit interval evenly (Richtmyer 1951; the
first two as in Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"): so few
draws already have the right distribution, and draw 17 is the same however many follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from hmx.uncertainty.joint.dependence import LEVELS, Dependence
from hmx.uncertainty.joint.field import Field

# Steps of the sequences of the region's shift at lead 1 and of the factor of the tails
_SHIFT_STEP, _TAIL_STEP = 0.7548776662, 0.5698402910
_FINENESS = 2048  # entries of the table per standard deviation: less than a pixel can show


@dataclass(frozen=True)
class Region:
    """What all pixels of each draw share."""

    shift: np.ndarray  # (draws, h) standard normal, an autoregression over leads
    tail: np.ndarray  # (draws,) factor by which normal numbers become those of a t distribution

    @classmethod
    def of(cls, dependence: Dependence, numbers: range, h: int, seed: int) -> Region:
        """Compute the shared numbers of some draws."""
        steps = [_TAIL_STEP, _SHIFT_STEP, *(math.sqrt(p) for p in _primes(max(0, h - 1)))]
        # a key with a component of its own: no node of the field has it
        generator = np.random.Generator(np.random.Philox(key=[seed, 1 << 63]))
        starts = generator.random(len(steps))
        at = np.array(numbers)[:, None] + 1
        even = (starts + at * np.array(steps)) % 1.0
        even = np.clip(even, 1e-9, 1 - 1e-9)
        nu, phi = dependence.nu, dependence.phi
        tail = np.sqrt(nu / (2 * scipy.special.gammaincinv(nu / 2, even[:, 0])))
        normal = scipy.special.ndtri(even[:, 1:])
        shift = np.empty((len(at), h))
        for lead in range(h):
            shift[:, lead] = normal[:, lead]
            if lead:
                shift[:, lead] *= math.sqrt(1 - phi**2)
                shift[:, lead] += phi * shift[:, lead - 1]
        return cls(shift, tail)


@dataclass(frozen=True)
class Draws:
    """Draws in one window."""

    field: Field  # dependence of the window's pixels
    quantiles: np.ndarray  # calibrated quantiles at ``LEVELS``, (levels, h, y, x), native units

    def __call__(self, numbers: range) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield number, lead (from 1) and values (y, x) of each draw; NaN stays NaN."""
        h, shape = self.quantiles.shape[1], self.quantiles.shape[2:]
        dependence = self.field.dependence
        curves = [_QuantileFunctions.of(knots) for knots in np.moveaxis(self.quantiles, 1, 0)]
        region = Region.of(dependence, numbers, h, self.field.seed)
        for number, lead, z in self.field.draws(numbers, h):
            share = dependence.at(lead).region
            at = numbers.index(number)
            z *= np.float32(math.sqrt(1 - share))
            z += np.float32(math.sqrt(share) * region.shift[at, lead - 1])
            z *= np.float32(region.tail[at])
            yield number, lead, curves[lead - 1].read(z, dependence.nu).reshape(shape)


@dataclass(frozen=True)
class _QuantileFunctions:
    """The quantile functions of the pixels that have more than one value."""

    values: np.ndarray  # (pixels,) of all pixels: their value, if it is one
    open_: np.ndarray  # numbers of the other pixels
    knots: np.ndarray  # (n, levels) of these, each pixel's side by side in memory

    @classmethod
    def of(cls, quantiles: np.ndarray) -> _QuantileFunctions:
        flat = quantiles.reshape(len(quantiles), -1)
        open_ = np.flatnonzero(flat[-1] > flat[0])
        return cls(flat[0].copy(), open_, np.ascontiguousarray(flat[:, open_].T))

    def read(self, z: np.ndarray, nu: float) -> np.ndarray:
        """Read each pixel at the probability that its number of a t distribution stands for."""
        found = self.values.copy()
        at, part = _places(nu)
        last = len(at) - 1
        index = z.reshape(-1)[self.open_]
        index *= np.float32(_FINENESS)
        index += np.float32(last / 2)
        place = np.clip(np.rint(index, out=index), 0, last, out=index).astype("int32")
        first = at.take(place) + np.arange(0, self.knots.size, self.knots.shape[1] or 1)
        flat = self.knots.reshape(-1)
        low = flat.take(first)
        rise = flat.take(first + 1)
        rise -= low
        rise *= part.take(place)
        rise += low
        found[self.open_] = rise
        return found


@lru_cache(maxsize=4)
def _places(nu: float) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate, over the numbers of a t distribution, the knot below and the share of the next."""
    far = math.ceil(float(scipy.special.stdtrit(nu, LEVELS[-1])) * _FINENESS)
    probability = scipy.special.stdtr(nu, np.arange(-far, far + 1) / _FINENESS)
    position = np.interp(probability, LEVELS, np.arange(len(LEVELS)))
    first = np.minimum(position.astype("int64"), len(LEVELS) - 2)
    return first, (position - first).astype("float32")


def _primes(count: int) -> list[int]:
    """Return the first primes; the square roots of primes give sequences unlike each other."""
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found
