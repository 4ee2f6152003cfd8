"""Read what an offline run of Weights & Biases wrote, record by record."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _HEADER = 32768, struct.Struct("<IHB")  # of a LevelDB log: checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(run: Path) -> list[Record]:
    """Parse the records of the one ``.wandb`` file in a finished run's folder.

    The service that writes it may still be at it when ``finish`` returns.
    """
    (path,) = run.glob("run-*.wandb")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [Record.FromString(raw) for raw in _messages(path.read_bytes())]
        if found and found[-1].HasField("exit"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} has no end")


def _messages(data: bytes) -> Iterator[bytes]:
    at, message = 7, b""  # the file's own header
    while at + _HEADER.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER.size:
            at += left
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        part = data[at : at + length]
        if len(part) < length:
            return  # still being written
        at += length
        message = part if kind in (_FULL, _FIRST) else message + part
        if kind in (_FULL, _LAST):
            yield message
