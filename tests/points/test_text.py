"""Laws of tables of text: what is not the plain default is found out and named, or refused."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from hmx.errors import BadArgument, SourceError
from tests.make.tables import make_table, read, same, write

TABLE = make_table()


def found(path: Path, **options: object) -> tuple[str, ...]:
    """Read a file of the table, and return what was found out."""
    points = read(path, **options)
    same(points, TABLE)
    return tuple(points.table.found)


@pytest.mark.parametrize(
    ("separator", "words"),
    [
        (",", ()),
        (";", ("semicolon-separated",)),
        ("\t", ("tab-separated",)),
        ("|", ("bar-separated",)),
        (" ", ("blank-separated",)),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "txt", "tab", "tsv"])
def test_the_separator_of_the_header_is_found(
    tmp_path: Path, separator: str, words: tuple[str, ...], suffix: str
) -> None:
    path = tmp_path / f"points.{suffix}"
    TABLE.to_csv(path, sep=separator, index=False)
    assert found(path) == words


def test_a_comma_in_the_header_of_a_semicolon_file_separates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    table = TABLE.assign(**{"note, short": "a", "depth, cm": 3})
    for decimal in (".", ","):
        table.to_csv(path, sep=";", decimal=decimal, index=False)
        assert found(path)[0] == "semicolon-separated"


def test_runs_of_blanks_are_one_separator(tmp_path: Path) -> None:
    lines = TABLE.to_string(index=False).split("\n")
    assert found(write(tmp_path / "points.txt", "\n".join(lines))) == ("blank-separated",)


def test_any_separator_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "points.csv", TABLE.to_csv(index=False).replace(",", "^"))
    with pytest.raises(BadArgument, match=r"one column, 'id\^lon.*points\.separator"):
        read(path)
    assert found(path, separator="^") == ("'^'-separated",)
    TABLE.to_csv(path, sep="\t", index=False)
    for name in ("tab", "\t", "\\t"):
        assert found(path, separator=name) == ("tab-separated",)
    with pytest.raises(BadArgument, match="a separator is one character between fields"):
        read(path, separator="tabs")


def test_decimal_commas_are_found_whatever_separates(tmp_path: Path) -> None:
    for separator, name in ((";", "semicolon"), ("\t", "tab"), (" ", "blank")):
        path = tmp_path / "points.csv"
        TABLE.to_csv(path, sep=separator, decimal=",", index=False)
        assert found(path) == (f"{name}-separated", "decimal comma")
    TABLE.to_csv(path, decimal=",", index=False)  # quoted where the comma separates too
    assert found(path) == ("decimal comma",)
    assert found(path, decimal=",") == ("decimal comma",)


@pytest.mark.parametrize("value", ["1.234,5", "1.234.567,5"])
def test_points_between_thousands_are_refused_by_name(tmp_path: Path, value: str) -> None:
    table = TABLE.assign(soc=["1,5", value, "3,5", "4,5", "5,5", "6,5"])
    table.to_csv(tmp_path / "points.csv", sep=";", decimal=",", index=False)
    with pytest.raises(BadArgument, match=rf"'{value}' in row 1 \(id P1\).*between thousands"):
        read(tmp_path / "points.csv")


def test_a_comma_before_three_digits_is_not_guessed(tmp_path: Path) -> None:
    rows = ["id;lon;lat;soc", "a;9,123;50,123;1,234", "b;9,122;50,120;2,345"]
    path = write(tmp_path / "points.csv", "\n".join(rows))
    with pytest.raises(BadArgument, match=r"'9,123', which is 9\.123 .*and 9123 with a comma"):
        read(path)
    assert read(path, decimal=",").value.tolist() == [1.234, 2.345]
    grouped = TABLE.assign(soc=["1,234", "2,345", "3,456", "12,000", "5,111", "6,000"])
    grouped.to_csv(path, index=False)
    with pytest.raises(BadArgument, match=r"1,234 is 1\.234 with a decimal comma and 1234 with"):
        read(path)


def test_a_table_of_both_signs_is_refused_and_says_which(tmp_path: Path) -> None:
    mixed = TABLE.assign(soc=TABLE["soc"].map(lambda value: str(value).replace(".", ",")))
    mixed.to_csv(tmp_path / "points.csv", sep=";", index=False)
    with pytest.raises(BadArgument, match=r"'1,5' in row 0.*decimal comma: pass decimal=','"):
        read(tmp_path / "points.csv")
    with pytest.raises(BadArgument, match=r"'lon'.*have a decimal point, and the table a decimal"):
        read(tmp_path / "points.csv", decimal=",")
    same(read(mixed, decimal=","), TABLE)  # a DataFrame's numbers are numbers already


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8", ()),
        ("utf-8-sig", ()),
        ("cp1252", ("cp1252",)),
        ("utf-16", ("utf-16",)),
        ("utf-32", ("utf-32",)),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, words: tuple[str, ...]) -> None:
    text = TABLE.assign(place="Köln \u2013 Süd").to_csv(index=False)
    path = write(tmp_path / "points.csv", text, encoding)
    assert found(path) == words
    assert read(path).column("place")[0] == "Köln \u2013 Süd"


def test_an_encoding_can_be_given_and_must_be_one(tmp_path: Path) -> None:
    path = write(tmp_path / "points.csv", TABLE.assign(place="Łódź").to_csv(index=False), "cp1250")
    assert read(path, encoding="cp1250").column("place")[0] == "Łódź"
    with pytest.raises(SourceError, match=r"points\.encoding is 'utf-8'.*encoding='cp1252'"):
        read(path, encoding="utf-8")
    with pytest.raises(SourceError, match=r"points\.encoding is 'cp-125'"):
        read(path, encoding="cp-125")
    write(path, TABLE.to_csv(index=False), "utf-16-le")
    with pytest.raises(SourceError, match=r"UTF-16 text without a byte order mark.*utf-16-le"):
        read(path)
    assert found(path, encoding="utf-16-le") == ("utf-16-le",)


def test_quoted_fields_may_hold_separators_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    for separator in (",", ";", "\t", "|"):
        path = tmp_path / "points.csv"
        note = 'heavy, "loam"\nand; sand\twet|dry'
        TABLE.assign(note=note).to_csv(path, sep=separator, index=False)
        points = read(path)
        same(points, TABLE)
        assert points.column("note")[3] == note


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_any_end_of_line_ends_one(tmp_path: Path, ends: str) -> None:
    text = TABLE.to_csv(index=False).replace("\n", ends)
    assert found(write(tmp_path / "points.csv", text)) == ()


def test_comment_lines_are_counted_and_blank_ones_are_none(tmp_path: Path) -> None:
    text = "# a survey\n# of 2018\n" + TABLE.to_csv(index=False).replace("\nP3", "\n\nP3")
    assert found(write(tmp_path / "points.csv", text)) == ("2 comment lines skipped",)
    text = "sep=;\n" + TABLE.to_csv(index=False, sep=";")
    assert found(write(tmp_path / "points.csv", text)) == ("semicolon-separated",)


def lines() -> list[str]:
    return TABLE.to_csv(index=False).strip().split("\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row + ",x", "line 4 has 6 fields and the header .*has 5; 1 of 6 rows"),
        (lambda row: row.rsplit(",", 1)[0], "line 4 has 4 fields and the header"),
        (lambda row: row.replace("P2", "P2, the second"), "line 4 has 6 fields"),
        (lambda row: row.replace("P2", '"P2'), "1 of 3 rows do not fit.*close open quotes"),
    ],
    ids=["more", "fewer", "unquoted", "open quote"],
)
def test_a_row_that_does_not_fit_its_header_is_refused_by_line(
    tmp_path: Path, change: object, words: str
) -> None:
    rows = lines()
    rows[3] = change(rows[3])  # type: ignore[operator]
    with pytest.raises(SourceError, match=words):
        read(write(tmp_path / "points.csv", "\n".join(rows)))


def test_one_more_field_in_every_row_is_never_an_index(tmp_path: Path) -> None:
    rows = lines()
    named = [rows[0], *(f'"{number}",{row}' for number, row in enumerate(rows[1:], 1))]
    with pytest.raises(SourceError, match=r"line 2 has 6 fields.*row\.names = FALSE"):
        read(write(tmp_path / "points.csv", "\n".join(named)))
    ended = [rows[0], *(row + "," for row in rows[1:])]  # nothing stands in the last field
    assert found(write(tmp_path / "points.csv", "\n".join(ended))) == ()
    with pytest.raises(SourceError, match=r"header is not in line 1, take off the lines above"):
        read(write(tmp_path / "points.csv", "Soil survey 2018\n" + "\n".join(rows)))


def test_packed_tables_are_read(tmp_path: Path) -> None:
    data = TABLE.to_csv(index=False, sep=";").encode()
    (tmp_path / "points.csv.gz").write_bytes(gzip.compress(data))
    assert found(tmp_path / "points.csv.gz") == ("semicolon-separated",)
    with zipfile.ZipFile(tmp_path / "points.zip", "w") as archive:
        archive.writestr("data/points.csv", data)
    assert found(tmp_path / "points.zip") == ("semicolon-separated",)
    (tmp_path / "points.csv.gz").write_bytes(gzip.compress(data)[:-9])
    with pytest.raises(SourceError, match=r"points cannot be read from '.*points\.csv\.gz'"):
        read(tmp_path / "points.csv.gz")


def test_ids_keep_their_leading_zeros(tmp_path: Path) -> None:
    TABLE.assign(id=[f"00{i}" for i in range(6)]).to_csv(tmp_path / "points.csv", index=False)
    points = read(tmp_path / "points.csv", where=["id <= 3", "soc != 3.5"])
    assert points.value.tolist() == [1.5, 2.5, 4.5]
    assert points.names.of(points.left["filtered"]) == ["002", "004", "005"]


def test_a_header_behind_a_comment_sign_is_one(tmp_path: Path) -> None:
    text = "# a survey, of 2018\n#" + TABLE.to_csv(index=False)
    assert found(write(tmp_path / "points.csv", text)) == ("1 comment line skipped",)
