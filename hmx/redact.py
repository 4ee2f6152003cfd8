"""Redact: no text that leaves hmx carries a password or a key.

Secrets come in URLs: as ``user:password@``, and as values of the query (``?sig=``,
``?token=``, signed parts of every cloud). All values of a query are left out of what is
shown, because it is unknown which of them gives access. Secrets also come from the
environment: the value of a variable whose name calls it one (``TOKEN``, ``KEY``, ...) is
replaced by ``${NAME}`` wherever it turns up.

What is kept to know a source by is another thing: :func:`identity` leaves out what a
cloud signs anew every hour, and keeps the rest as a hash.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

HIDDEN = "***"

_SHORTEST = 6  # characters of a secret: a shorter one would stand in half of all words
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|(?<![A-Z])KEY(?![A-Z])|APIKEY|(?<![A-Z])SAS(?![A-Z])"
    r"|SIGNATURE|(?<![A-Z])(PW|PWD|AUTH|SIG)(?![A-Z])",
    re.IGNORECASE,
)
# user info: up to the last @ before a slash, blank or quote; passwords may hold @ and :
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)[^\s/'\"<>]*@")
_QUERY = re.compile(r"((?:://|/vsi\w+)[^\s?'\"<>]*\?)([^\s'\"<>]+)")
_PAIR = re.compile(r"([^=&#]*=)[^&#]*")
# what is signed, dated or sworn anew for the same file: Azure, AWS, Google, and others
_SIGNED = re.compile(
    r"s(v|ig|e|t|r|p|pr|ip|s|rt|k\w*|duoid|uoid|di)|sdd|se|x-(amz|goog|ms|oss)-.*|signature"
    r"|expires|awsaccesskeyid|googleaccessid|key-pair-id|policy|(.*[_-])?(token|key|secret|auth"
    r"|password|passwd|pwd|sas|session|credential)s?|access_?token|api_?key|apikey|jwt",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a text without the secrets that its URLs and the environment hold.

    Examples
    --------
    >>> redact("no file at https://me:pw@example.org/a.tif?sig=abc&v=1")
    'no file at https://***@example.org/a.tif?sig=***&v=***'
    """
    if "://" in text or "/vsi" in text:
        text = _USER.sub(rf"\1{HIDDEN}@", text)
        # of a query that has no names, such as a bare token, all is hidden
        text = _QUERY.sub(
            lambda m: m[1] + (_PAIR.sub(rf"\1{HIDDEN}", m[2]) if "=" in m[2] else HIDDEN), text
        )
    for value, name in _environment():
        if value in text:
            text = text.replace(value, f"${{{name}}}")
    return text


def _environment() -> list[tuple[str, str]]:
    """List secret values of the environment and the names they have, the longest first."""
    found = [
        (value, name)
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name) and not value.startswith("/")
    ]
    return sorted(found, key=lambda pair: -len(pair[0]))


def redact_all(value: Any) -> Any:
    """Return JSON values whose texts are redacted, keys as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner) for inner in value]
    return value


def identity(url: str) -> str:
    """Name a URL without its secrets: the same name while only a signature changes.

    User info and what is signed are left out; what is left of a query is a hash, for a
    layer or a version in it means other data.
    """
    head, mark, query = _USER.sub(r"\1", url).partition("?")
    kept = [
        pair for pair in parse_qsl(query, keep_blank_values=True) if not _SIGNED.fullmatch(pair[0])
    ]
    if mark and not kept and query and "=" not in query:
        return redact(f"{head}?{HIDDEN}")  # a bare token
    if not kept:
        return redact(head)
    text = "&".join(f"{name}={value}" for name, value in sorted(kept))
    return f"{redact(head)}#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
