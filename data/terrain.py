"""Make the land of the demo: noise, rivers, relief. Synthetic.

Rivers drain a noisy land to the sea and carve it to the steady state of the
stream power law, slope = grade * area ** -concavity (Whipple and Tucker,
1999), so valleys branch and flatten downstream. A last rise of the sea drowns
the lowest valleys, which makes the coast ragged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Relief:
    """Hold the numbers that shape the terrain."""

    rows: int = 384  # px
    cols: int = 512  # px
    margin: int = 32  # rim that is carved and then cropped, px
    pixel: float = 300.0  # m
    gentle: float = 0.03  # slope of a one-pixel catchment in the plains, m/m
    rugged: float = 0.40  # the same in the mountains, m/m
    concavity: float = 0.42  # exponent of catchment area in the stream power law
    carvings: int = 25  # rounds of routing and grading rivers
    drowned: float = 8.0  # final rise of the sea, m


@dataclass(frozen=True)
class Terrain:
    """Hold the bare land; arrays of shape (rows, cols)."""

    height: Array  # m, NaN in the sea
    slope: Array  # m/m
    area: Array  # catchment, px


def noise(rng: Rng, shape: tuple[int, int], beta: float, coarse: float) -> Array:
    """Draw a Gaussian field with spectrum ``k ** -beta``, mean 0 and sd 1.

    Wavelengths above ``coarse`` (px) are flattened.
    """
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    k = np.maximum(np.hypot(ky, kx), 1 / coarse)
    out = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * k ** (-beta / 2), s=shape)
    return (out - out.mean()) / out.std()


def ramp(x: Array, low: float, high: float) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def neighbours(shape: tuple[int, int]) -> tuple[Index, Array]:
    """Index the 8 neighbours of each cell, and their distances in px.

    Beyond the border a cell is its own neighbour. Shapes (8, n) and (8, 1).
    """
    ids = np.arange(shape[0] * shape[1]).reshape(shape)
    rim = np.pad(ids, 1, constant_values=-1)
    near = np.stack([rim[1 + dy :, 1 + dx :][: shape[0], : shape[1]] for dy, dx in OFFSETS])
    near = np.where(near < 0, ids, near).reshape(8, -1)
    return near, np.array([np.hypot(*o) for o in OFFSETS])[:, None]


def travel(cost: Array) -> csr_matrix:
    """Build the graph of moves between neighbours; infinite cost is barred."""
    near, dist = neighbours(cost.shape)
    flat = cost.ravel()
    weight = dist * (flat + flat[near]) / 2
    start = np.broadcast_to(np.arange(flat.size), near.shape)
    keep = np.isfinite(weight) & (near != start)
    return csr_matrix((weight[keep], (start[keep], near[keep])), shape=(flat.size, flat.size))


def downstream(height: Array) -> tuple[Index, Array]:
    """Point each cell to its steepest descent; pits and sea to themselves."""
    near, dist = neighbours(height.shape)
    flat = height.ravel()
    best = np.argmax((flat - flat[near]) / dist, axis=0)
    cells = np.arange(flat.size)
    falls = flat[near[best, cells]] < flat
    return np.where(falls, near[best, cells], cells), np.where(falls, dist[best, 0], 0.0)


def catchment(to: Index) -> Array:
    """Count the cells that drain through each cell, by pointer doubling."""
    sink = to.size
    hop = np.append(np.where(to == np.arange(sink), sink, to), sink)
    area = np.append(np.ones(sink), 0.0)
    while (hop != sink).any():
        area += np.bincount(hop, area, sink + 1)
        area[sink] = 0
        hop = hop[hop]
    return area[:sink]


def climb(to: Index, rise: Array) -> Array:
    """Sum the rise along each path down to the sea, by pointer doubling."""
    total, hop = rise, to
    while (hop != hop[hop]).any():
        total, hop = total + total[hop], hop[hop]
    return total + total[hop]


def shelf(rng: Rng, shape: tuple[int, int]) -> Array:
    """Lay out where land is (above 0): a tilted plane with noise."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return 1.0 - 1.1 * y - 0.9 * x + 0.45 * noise(rng, shape, 3.0, 250)


def make_terrain(rng: Rng, relief: Relief) -> Terrain:
    """Carve a land to its steady state, and drown its lowest valleys."""
    rim = relief.margin
    base = shelf(rng, (relief.rows + 2 * rim, relief.cols + 2 * rim))
    mountains = ramp(base + 0.45 * noise(rng, base.shape, 3.0, 200), 0.6, 2.3)
    grade = relief.gentle + (relief.rugged - relief.gentle) * mountains
    grade *= np.exp(0.35 * noise(rng, base.shape, 1.5, 60)) * (base > 0)
    height, area = carve(first_guess(rng, base > 0), grade, relief=relief)
    height = relief.pixel * gaussian_filter(height, 0.6) - relief.drowned
    height[(height <= 0) | (base <= 0)] = np.nan
    slope = np.hypot(*np.gradient(np.nan_to_num(height), relief.pixel))
    return Terrain(*(field[rim:-rim, rim:-rim] for field in (height, slope, area)))


def first_guess(rng: Rng, land: Mask) -> Array:
    """Let height grow with a noisy distance from the sea, without pits."""
    cost = np.exp(0.8 * noise(rng, land.shape, 2.0, 100))
    sea = np.flatnonzero(~land)
    far = dijkstra(travel(cost), indices=sea, min_only=True)
    return np.where(land, far.reshape(land.shape), 0.0)


def carve(height: Array, grade: Array, *, relief: Relief) -> tuple[Array, Array]:
    """Alternate between routing rivers and grading them; height and area."""
    for _ in range(relief.carvings):
        to, dist = downstream(height)
        area = catchment(to)
        rise = grade.ravel() * area**-relief.concavity * dist
        height = climb(to, rise).reshape(grade.shape)
    return height, area.reshape(grade.shape)
