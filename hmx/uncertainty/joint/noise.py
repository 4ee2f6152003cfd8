"""Noise: standard normal numbers at the nodes of a lattice without end.

A number depends on its key (seed, draw, component, lead) and its node alone, so every tile, worker
and region gets the same bits. Numbers are drawn in blocks of nodes with the counter-based
generator Philox (Salmon et al. 2011, doi:10.1145/2063384.2063405).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_BLOCK = 64  # nodes; a smaller one would draw fewer numbers too many, and start more often


class NoiseKey(NamedTuple):
    """What numbers depend on, besides their node."""

    seed: int
    draw: int
    component: int
    lead: int


def normal_nodes(
    key: NoiseKey, rows: tuple[int, int], columns: tuple[int, int], *, around: int | None = None
) -> np.ndarray:
    """Return the numbers of nodes [start, stop) of both axes, float32 (rows, columns).

    With ``around`` nodes once round the globe, columns continue at the other end.
    """
    if around is not None:
        at = np.arange(*columns) % around
        if len(at) and (at[0] > at[-1] or len(at) >= around):
            whole = normal_nodes(key, rows, (0, around))
            return np.ascontiguousarray(whole[:, at])
        columns = (int(at[0]), int(at[-1]) + 1)
    found = np.empty((rows[1] - rows[0], columns[1] - columns[0]), "float32")
    for row in range(rows[0] // _BLOCK, -(-rows[1] // _BLOCK)):
        for column in range(columns[0] // _BLOCK, -(-columns[1] // _BLOCK)):
            top, left = row * _BLOCK, column * _BLOCK
            y = slice(max(rows[0], top), min(rows[1], top + _BLOCK))
            x = slice(max(columns[0], left), min(columns[1], left + _BLOCK))
            inside = slice(y.start - top, y.stop - top), slice(x.start - left, x.stop - left)
            part = found[y.start - rows[0] : y.stop - rows[0]]
            part[:, x.start - columns[0] : x.stop - columns[0]] = _block(key, row, column)[inside]
    return found


def _block(key: NoiseKey, row: int, column: int) -> np.ndarray:
    """Draw the numbers of one block."""
    # the key of Philox is two words, and its counter four: a block starts far from all others
    words = np.array(
        [
            key.seed & _WORD,
            ((key.draw & 0xFFFFFFFF) << 24 | (key.component & 0xFF) << 16 | key.lead & 0xFFFF),
        ],
        "uint64",
    )
    counter = np.array([0, 0, row & _WORD, column & _WORD], "uint64")
    generator = np.random.Generator(np.random.Philox(key=words, counter=counter))
    return generator.standard_normal((_BLOCK, _BLOCK), dtype="float32")


_WORD = 0xFFFFFFFFFFFFFFFF
