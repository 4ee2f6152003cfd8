"""Laws of how YAML is read: it is taken as it looks, and what no catalog holds is named."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hmx.catalog import Catalog
from hmx.errors import CatalogError
from hmx.files.yamlfile import LARGEST, parse_yaml, read_yaml

GOOD = "hmx: 1\ncube: {path: a.zarr, sources: {hm: {path: 'HM_{year}.tif', years: [1990]}}}\n"
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes) -> str:
        file = tmp_path / "c.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(CatalogError) as caught:
            Catalog.load(file)
        return str(caught.value).replace(str(file), "FILE")

    return read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "name: a\ncube: {}\nname: b\n",
            "line 3, column 1: the key 'name' stands here and at line 1",
        ),
        ("cube: {path: a, path: b}\n", "the key 'path' stands here and at line 1"),
        ("1.5: a\n", "line 1, column 1: the key 1.5 is not a text. Put it in quotes: '1.5'"),
        ("true: a\n", "the key true is not a text"),
        ("3: a\n3: b\n", "the key '3' stands here and at line 1"),
        ("null: a\n", "the key null is not a text"),
        ("? [a]\n: b\n", "is not a text"),
        (BOMB, "its anchors make more than 50,000 values"),
        ("cube: &a {sources: *a}\n", "an anchor holds itself"),
        ("cube: &a [*a]\n", "an anchor holds itself"),
        ("name: " + "[" * 60 + "]" * 60, "it is nested more than 32 deep"),
        ("name: " + "[" * 100_000, "it is nested more than 32 deep"),
        ("name: [" + "1, " * 60_000 + "1]", "it has more than 50,000 values"),
        (
            "name: !!python/object/apply:os.getcwd []\n",
            "os.getcwd is a tag, and a catalog",
        ),
        ("name: !secret x\n", "!secret is a tag"),
        ("name: !!binary aGVsbG8=\n", "!!binary is a tag"),
        ("name: !!set {a, b}\n", "!!set is a tag"),
        ("name: !!bool maybe\n", "a value does not fit its tag"),
        ("name: a\n---\nname: b\n", "line 2, column 1: a second document begins (---)"),
        ("cube:\n\tpath: a\n", "a tab indents or starts a value, and YAML takes blanks alone"),
        ("name: " + "9" * 5000, "a number has at most 400 digits"),
        (b"name: \xe9\n", "byte 0xe9 in line 1 is not UTF-8 text. Save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "is not UTF-8 text"),
        (b"name: a\nb: \x00\x01", "line 2 holds binary data"),
        (b"#" * (LARGEST + 1), "has 1,000,001 bytes, and a catalog at most 1,000,000"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_no_catalog_is_is_refused_where_it_stands(read, text, words):
    assert words in read(text)


def test_own_keys_stand_above_merged_ones(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\n")
    assert read_yaml(file)["d"] == {"b": 3, "c": 2}


def test_a_mark_of_byte_order_is_no_part_of_the_first_key(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert Catalog.load(file).cube.target == "hm"


def test_a_fifo_or_device_is_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "c.yaml")
    for place, what in ((tmp_path / "c.yaml", "a FIFO"), (Path("/dev/zero"), "a device")):
        answer: list[str] = []

        def ask(place: Path = place, answer: list[str] = answer) -> None:
            try:
                Catalog.load(place)
            except CatalogError as error:
                answer.append(str(error))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(20)
        assert answer == [
            f"{place} cannot be read as a catalog: it is {what}, and a catalog is a file of YAML "
            "text."
        ]


def test_a_value_that_a_comment_cuts_is_refused(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text(GOOD)
    with pytest.raises(CatalogError, match="Quote a text with marks for the shell and for YAML"):
        Catalog.load(file, ["forecast.output=/data/maps #2/fc.zarr"])
    quoted = Catalog.load(file, ["forecast.output='/data/maps #2/fc.zarr'"])
    assert quoted.forecast_path == "/data/maps #2/fc.zarr"
    assert parse_yaml("[1, 2]", whole=True) == [1, 2]
