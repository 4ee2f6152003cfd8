"""Places: whether something can be written where a run will write it, hours before it does."""

from __future__ import annotations

import os
from pathlib import Path

from hmx.errors import BadArgument
from hmx.files.paths import absolute, is_url

# Protocols of fsspec that have no way to write; their clients fail only at the first write.
_READ_ONLY = ("http", "https", "github", "git", "data", "jar", "reference")


def require_writable(path: str, key: str) -> None:
    """Raise unless a product can be made at a path; one that is there is not looked at."""
    if is_url(path):
        _require_writable_url(path, key)
        return
    target = Path(absolute(path))
    try:
        if target.exists():
            return
        nearest = next(parent for parent in target.parents if parent.exists())
    except OSError as error:  # a name longer than a file system takes
        raise BadArgument(f"{key} = {path!r}: {error.strerror}. Choose another path.") from None
    if not nearest.is_dir():
        raise BadArgument(
            f"{key} = {path!r}: {nearest} is a file, and a folder is needed in its place. Choose "
            "another path."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BadArgument(
            f"{key} = {path!r}: the folder {nearest} cannot be written by you. Choose another "
            "path, or ask for access."
        )


def _require_writable_url(path: str, key: str) -> None:
    scheme = path.partition("://")[0].rpartition("::")[2]
    if path.startswith(("/vsi", "wandb:")) or scheme in _READ_ONLY:
        raise BadArgument(
            f"{key} = {path!r} can be read and not written. Choose a folder of this machine, or a "
            "bucket such as s3://bucket/name.zarr."
        )
    import fsspec

    try:
        files, target = fsspec.core.url_to_fs(path)
        files.exists(target)
    except ImportError as error:
        extra = ' Type: pip install "hmx[s3]".' if scheme in ("s3", "s3a") else ""
        raise BadArgument(
            f"{key} = {path!r}: {error}. Install it, or choose a folder.{extra}"
        ) from None
    except ValueError:
        raise BadArgument(
            f"{key} = {path!r}: {scheme}:// is not a location that hmx can write to. Choose a "
            "folder of this machine, or a bucket such as s3://bucket/name.zarr."
        ) from None
    except Exception as error:  # whatever a client of a cloud raises: it is not there now
        raise BadArgument(
            f"{key} = {path!r} cannot be reached: {error}. Check the address and your "
            "credentials, or choose a folder of this machine."
        ) from None
