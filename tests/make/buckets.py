"""A loopback server of S3, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

SECRET = "not-to-be-seen-anywhere"


@cache
def free_port() -> int:
    """Return a port for all servers of this process, one after the other.

    fsspec keeps file systems by their options, among which the address is not: with another port,
    a later test would ask the server of an earlier one.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def buckets(patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve S3, point the environment to it, and yield a file system with ``s3://bucket``."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for name, value in {
                "AWS_ACCESS_KEY_ID": "someone",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            }.items():
                patch.setenv(name, value)
            import s3fs

            files = s3fs.S3FileSystem(skip_instance_cache=True)
            for _ in range(600):  # a busy machine starts it in half a minute
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            files.mkdir("bucket")
            yield files
        finally:
            server.terminate()
            server.wait()  # so that the next one finds the port free
