"""Remote: how files at URLs are read, and what it means when they cannot be.

GDAL reads rasters and fsspec everything else. Both wait and try again where a server is busy
(429) or ill for a moment (500, 502, 503, 504). A setting of GDAL that the user has made, in the
environment, wins over those here.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from hmx.files.paths import is_url
from hmx.redact import redact

_TRIES = 5
_BUSY = (429, 500, 502, 503, 504)
_LONGEST = 60.0  # seconds to wait, whatever a server asks for
_SECONDS = 20  # that a server has to answer a question about a failure
# for every URL
_GDAL = {
    "GDAL_HTTP_MAX_RETRY": str(_TRIES - 1),
    "GDAL_HTTP_RETRY_DELAY": "1",  # seconds, doubled at each try
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    # a connection that has died: fewer than 1,000 bytes a second for a minute
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    # of what was read, so that windows with blocks in common fetch them once; 16 MB by default
    "CPL_VSIL_CURL_CACHE_SIZE": str(2**28),
}
# formats that have everything in one file: others may need theirs (.prj of .asc, .ige of .img)
_ALONE = (".tif", ".tiff", ".vrt", ".jp2", "")
_STATUS = re.compile(r"(?:HTTP|response code)\D{0,20}(\d{3})\b|^(\d{3}),", re.IGNORECASE)
_SILENT = re.compile(
    r"connect|resolve|refused|timed? ?out|timeout|unreachable|name or service", re.IGNORECASE
)
_ASIDE = re.compile(r"/vsi(?:curl|s3)[^/]*/")


def gdal_options(file: str) -> dict[str, str]:
    """Return the settings of GDAL for a file; none for one of this machine."""
    if not is_url(file):
        return {}
    options = dict(_GDAL)
    if os.path.splitext(file.partition("?")[0])[1].lower() in _ALONE or "?" in file:
        # GDAL looks for a dozen files beside each raster, and a server answers 404 to each
        options["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    # the address of a store that speaks S3, as boto has it, in GDAL's words
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and file.startswith(("s3://", "/vsis3/")):
        at = urlsplit(endpoint)
        secure = "YES" if at.scheme == "https" else "NO"
        options |= {"AWS_S3_ENDPOINT": at.netloc, "AWS_HTTPS": secure}
        options["AWS_VIRTUAL_HOSTING"] = "FALSE"
    return {name: value for name, value in options.items() if name not in os.environ}


def storage_options(path: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the options of fsspec for a path: what was given, and patience with web servers."""
    patient = {"get_client": _client} if path.startswith(("http://", "https://")) else {}
    return {**patient, **(given or {})}


async def _client(**options: Any) -> Any:
    import aiohttp  # loads slowly

    return aiohttp.ClientSession(middlewares=(_patient,), **options)


async def _patient(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
    """Ask a busy server again, later each time, or when it wants to be asked."""
    pause = float(os.environ.get("GDAL_HTTP_RETRY_DELAY", _GDAL["GDAL_HTTP_RETRY_DELAY"]))
    for _ in range(_TRIES - 1):
        answer = await handler(request)
        if answer.status not in _BUSY:
            return answer
        wanted = answer.headers.get("Retry-After", "")
        answer.close()
        await asyncio.sleep(min(float(wanted) if wanted.isdecimal() else pause, _LONGEST))
        pause *= 2
    return await handler(request)


def explain(file: str, why: str) -> str | None:
    """Name what is wrong with a server or a file on it, and what to do; ``None`` if unclear."""
    if not is_url(file):
        return None
    status, host = _status(why), _host(file)
    silent = status is None and _SILENT.search(why) is not None
    if status is None and not silent:
        status, silent = _asked(file)
    if silent:
        return (
            f"no server answers at {host} ({redact(why)}). Check the address and the network, "
            "then run the same command again"
        )
    if status in (404, 410):
        return (
            f"{host} answers, and has no such file (HTTP {status}). Check the path, and the steps "
            "that stand in it"
        )
    if status in (401, 403):
        return (
            f"{host} refuses the file (HTTP {status}). Give your credentials (for s3://: "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; public buckets: AWS_NO_SIGN_REQUEST=YES)"
            ", or a signed URL"
        )
    if status in _BUSY:
        return (
            f"{host} is busy or ill: it answered HTTP {status} to {_TRIES} tries. Wait, then run "
            "the same command again; GDAL_HTTP_RETRY_DELAY=10 in the environment waits longer"
        )
    return None


def _status(why: str) -> int | None:
    found = _STATUS.search(why)
    return int(found[1] or found[2]) if found else None


def _host(file: str) -> str:
    """Name the server of a file, without what opens it."""
    plain = _ASIDE.sub("", file, count=1) if file.startswith("/vsi") else file
    host = urlsplit(plain).netloc or plain.partition("/")[0]
    return redact(host.rpartition("@")[2])


def _asked(file: str) -> tuple[int | None, bool]:
    """Ask a web server for the first byte of a file: its status, and whether it is silent."""
    plain = _ASIDE.sub("", file, count=1) if file.startswith("/vsicurl") else file
    if not plain.startswith(("http://", "https://")):
        return None, False
    try:
        with urlopen(Request(plain, headers={"Range": "bytes=0-0"}), timeout=_SECONDS) as answer:
            return int(answer.status), False
    except HTTPError as error:
        return error.code, False
    except (URLError, OSError, ValueError):
        return None, True
