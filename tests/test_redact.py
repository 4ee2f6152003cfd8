"""Laws of secrets: what opens a door stays out of every text that leaves."""

from __future__ import annotations

import json

import pytest

from hmx.errors import BadArgument, HmxError, SourceError
from hmx.ingest.stamps import stamp
from hmx.progress import Progress
from hmx.provenance import provenance
from hmx.redact import identity, redact, redact_all

URL = "https://me:pa@ss@example.org/a.tif?sv=1&sig=SECRET"
SECRETS = ("pa@ss", "SECRET", "hunter22")


def clean(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"no {URL} here", "no https://***@example.org/a.tif?sv=***&sig=*** here"),
        ("/vsicurl/https://u:p@x.org/a?token=z", "/vsicurl/https://***@x.org/a?token=***"),
        ("('s3://b/a.zarr?x=1')", "('s3://b/a.zarr?x=***')"),
        ("https://x.org/?bare", "https://x.org/?***"),
        ("tcp://user:pw@host:8786", "tcp://***@host:8786"),
        ("a@b.c wrote https://x.org/@me/a", "a@b.c wrote https://x.org/@me/a"),
        ("what? no: a=b", "what? no: a=b"),
        ("/data/maps #2/a?b=c.tif", "/data/maps #2/a?b=c.tif"),
    ],
)
def test_user_info_and_values_of_queries_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_values_of_secret_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAPS_TOKEN", "hunter22")
    monkeypatch.setenv("MONKEY", "banana22")
    assert redact("s3://hunter22/banana22") == "s3://${MAPS_TOKEN}/banana22"


@pytest.mark.parametrize("kind", [HmxError, BadArgument, SourceError])
def test_no_error_has_a_secret(kind: type[HmxError]) -> None:
    error = kind(f"{URL!r} is not there")
    assert clean(str(error))
    assert clean(repr(error))
    assert "example.org/a.tif" in str(error)


def test_no_line_and_no_provenance_has_a_secret() -> None:
    said: list[str] = []
    Progress(on_note=said.append).note(f"reading {URL}")
    assert said == [f"reading {redact(URL)}"]
    assert clean(provenance(source=URL, more={"deep": [URL]}))
    assert json.loads(provenance(n=1.5))["n"] == 1.5
    assert redact_all({"a": (URL, 1, None)}) == {"a": [redact(URL), 1, None]}


def test_a_source_is_known_by_what_is_not_signed_anew() -> None:
    assert clean(json.dumps(stamp(URL)))
    assert stamp(URL) == stamp("https://you:pw@example.org/a.tif?sv=2&sig=OTHER&se=2030")
    layers = {identity(f"https://x.org/a?layer={n}&token=t") for n in (1, 2)}
    assert len(layers) == 2
    assert identity("https://x.org/a?layer=1&token=t") == identity(
        "https://x.org/a?token=u&layer=1"
    )
    assert identity("s3://bucket/a.zarr") == "s3://bucket/a.zarr"
