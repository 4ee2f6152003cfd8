"""Tables of text: encoding, separator and decimal sign are detected, or refused by line.

No row is shifted: one that has another number of fields than the header is an error that
names its line. Values stay text until a whole column of them is known to be numbers.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from hmx.errors import BadArgument, SourceError
from hmx.points.options import PointsOptions
from hmx.points.tabular import Table

# In the order that decides where two split all rows alike: commas also are decimal signs.
SEPARATORS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma", " ": "blank"}

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_LOOKED_AT = 200  # records by which a separator is found
_EMPTY = frozenset({
    "", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>",
    "#NA", "#N/A N/A", "1.#QNAN", "-1.#IND", "1.#IND", "-1.#QNAN",
})  # fmt: skip  # what pandas takes for missing
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_PADDED = re.compile(r"[+-]?0\d")  # 007 is a name


def read_text(data: bytes, name: str, how: PointsOptions) -> Table:
    """Read a table of text."""
    text, encoding = _decoded(data, name, how.encoding)
    # An option beats what the file declares, and a declaration beats detection.
    text, declared = _declared(text)
    separator = how.separator or declared or _separator(text)
    header, rows, skipped = _rows(text, separator, name)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    decimal = how.decimal or _decimal(header, columns, name)
    frame = pd.concat(
        [
            _typed(values, decimal).rename(title)
            for title, values in zip(header, columns, strict=True)
        ],
        axis=1,
    )
    found = [
        "" if separator == "," else f"{SEPARATORS.get(separator, repr(separator))}-separated",
        "" if decimal == "." else "decimal comma",
        "" if encoding in ("utf-8", "utf-8-sig") else encoding,
        f"{skipped} comment line{'s' * (skipped > 1)} skipped" if skipped else "",
    ]
    return Table(name, frame, found=tuple(filter(None, found)), decimal=decimal)


def _decoded(data: bytes, name: str, chosen: str | None) -> tuple[str, str]:
    """Decode as asked, by byte order mark, as UTF-8, or as what Windows wrote before."""
    marked = next((encoding for mark, encoding in _BOMS if data.startswith(mark)), None)
    if chosen is not None:
        try:
            return data.decode(chosen).removeprefix("\ufeff"), chosen
        except (UnicodeDecodeError, LookupError) as error:
            raise SourceError(
                f"points.encoding is {chosen!r}, and {name} cannot be read in it ({error}). Leave "
                "it out to have it found, or pass encoding='cp1252'."
            ) from None
    # cp1252 would decode UTF-16 without an error, to text with a zero after each letter.
    if marked is None and b"\0" in data[:4096]:
        raise SourceError(
            f"{name} holds zero bytes, as UTF-16 text without a byte order mark does. Pass "
            "encoding='utf-16-le', or save the table as UTF-8."
        )
    for encoding in (marked,) if marked else ("utf-8", "cp1252", "latin-1"):
        try:
            return data.decode(encoding), encoding.removesuffix("-sig") if marked else encoding
        except UnicodeDecodeError as error:
            why = error
    raise SourceError(
        f"{name} begins with the mark of {marked} and cannot be decoded ({why}): it is torn, or "
        "parts of it have another encoding. Save it again as UTF-8."
    )


def _declared(text: str) -> tuple[str, str | None]:
    """Remove a first line ``sep=;``, which Excel writes and reads."""
    first = re.match(r"\s*\"?sep=(.)\"?[;,\t]*\r?\n", text, re.IGNORECASE)
    # the line stays, empty: lines are counted as an editor does
    return ("\n" + text[first.end() :], first[1]) if first else (text, None)


@dataclass(frozen=True)
class _Record:
    """Fields of a row, and the line of the file that it ends at."""

    line: int
    fields: list[str]


def _records(text: str, separator: str) -> Iterator[_Record]:
    """Split text into records; quoted fields may hold separators and ends of lines."""
    source = io.StringIO(text, newline="")
    lines = (line.replace("\t", " ").strip() for line in source) if separator == " " else source
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for fields in reader:
        if len(fields) > 1 or (fields and fields[0].strip()):
            yield _Record(reader.line_num, fields)


def _is_comment(record: _Record) -> bool:
    return record.fields[0].lstrip().startswith("#")


def _separator(text: str) -> str:
    """Find the separator: all rows have as many fields as the header, the more the better."""
    fits: dict[str, tuple[float, int]] = {}
    for separator in SEPARATORS:
        rows = [len(r.fields) for r in _first(text, separator)]
        if len(rows) > 0 and rows[0] > 1:
            fits[separator] = (rows.count(rows[0]) / len(rows), rows[0])
    if len(fits) > 1:
        # Only where another separator fits too.
        fits.pop(" ", None)  # names and texts have blanks, too
    whole = {separator: width for separator, (share, width) in fits.items() if share == 1}
    if whole:
        return max(whole, key=lambda separator: whole[separator])
    return max(fits, key=lambda separator: fits[separator]) if fits else ","


def _first(text: str, separator: str) -> list[_Record]:
    found: list[_Record] = []
    try:
        for record in _records(text, separator):
            if not _is_comment(record):
                found.append(record)
            if len(found) == _LOOKED_AT:
                break
    except csv.Error:  # an unclosed quote: the full reading names it
        pass
    return found


def _rows(text: str, separator: str, name: str) -> tuple[list[str], list[list[str]], int]:
    """Read header and rows; return them with the number of comment lines."""
    try:
        records = list(_records(text, separator))
    except csv.Error as error:
        raise SourceError(
            f"points cannot be read from {name!r} ({error}): is a quote left open? Pass the path "
            "of a CSV with a header."
        ) from None
    plain = [record for record in records if not _is_comment(record)]
    if not plain:
        raise SourceError(
            f"points cannot be read from {name!r}: it is empty. Pass the path of a CSV with a "
            "header."
        )
    if (named := _commented_header(records)) is not None:
        plain = [named, *plain]
    skipped, header = len(records) - len(plain), [field.strip() for field in plain[0].fields]
    if len(header) == 1:
        raise BadArgument(
            f"{name} has one column, {header[0]!r}, with the separator "
            f"{SEPARATORS.get(separator, separator)}, and points need three. Pass the separator of "
            "its header, e.g. separator='tab'; in a catalog, points.separator."
        )
    rows, more = plain[1:], len(header) + 1
    # a last field that is empty in every row: lines end with a separator
    if rows and all(len(r.fields) == more and not r.fields[-1].strip() for r in rows):
        rows = [_Record(record.line, record.fields[:-1]) for record in rows]
    _require_width(rows, plain[0], len(header), name)
    return header, [record.fields for record in rows], skipped


def _commented_header(records: Sequence[_Record]) -> _Record | None:
    """Return the header behind a #, where the first line without one is of data."""
    first = next((at for at, record in enumerate(records) if not _is_comment(record)), 0)
    if not first or not any(_NUMBER.fullmatch(field.strip()) for field in records[first].fields):
        return None
    before = records[first - 1]
    fields = [before.fields[0].lstrip().lstrip("# "), *before.fields[1:]]
    fits = 1 < len(fields) == len(records[first].fields)
    named = fits and not any(_NUMBER.fullmatch(field.strip()) for field in fields)
    return _Record(before.line, fields) if named else None


def _require_width(rows: Sequence[_Record], head: _Record, width: int, name: str) -> None:
    """Refuse rows with more or fewer fields than the header: they would be shifted."""
    odd = [record for record in rows if len(record.fields) != width]
    if not odd:
        return
    lines = ", ".join(str(record.line) for record in odd[:5]) + (", ..." if len(odd) > 5 else "")
    first = odd[0]
    if len(odd) == len(rows) and len(first.fields) == width + 1:
        why = (
            "Every row has one more than its header, as R writes row names: give the header a name "
            "for the first column, or write.table(..., row.names = FALSE)"
        )
    elif len(odd) == len(rows):
        why = (
            f"Where the header is not in line {head.line}, take off the lines above it, or begin "
            "them with #"
        )
    else:
        why = (
            "Quote fields that hold the separator or an end of line, close open quotes, and fill "
            "rows that are short"
        )
    raise SourceError(
        f"{name}: line {first.line} has {len(first.fields)} fields and the header (line "
        f"{head.line}) has {width}; {len(odd)} of {len(rows)} rows do not fit it (line {lines}), "
        f"and a row that does not is not shifted. {why}; or pass another separator='...'."
    )


def _decimal(header: Sequence[str], columns: Sequence[Sequence[str]], name: str) -> str:
    """Find the decimal sign from columns that hold nothing but numbers."""
    commas: list[tuple[str, list[str]]] = []
    for title, values in zip(header, columns, strict=True):
        signed = _signed(values, ",", _COMMA)
        if signed:
            commas.append((title, signed))
    if not commas or any(_signed(values, ".", _POINT) for values in columns):
        return "."  # what is text there is refused where it is needed, with the decimal sign named
    if all(_GROUPED.fullmatch(v) for _, signed in commas for v in signed):
        title, (value, *_) = commas[0]
        small, large = value.replace(",", "."), value.replace(",", "")
        raise BadArgument(
            f"column {title!r} of {name} holds {value!r}, which is {small} with a decimal comma "
            f"and {large} with a comma between thousands. "
            "Pass decimal=',' for the first; write numbers without commas for the second."
        )
    return ","


def _signed(values: Sequence[str], sign: str, number: re.Pattern[str]) -> list[str]:
    """Return the numbers of a column that have a sign, if it holds no text."""
    if not any(sign in value for value in values):
        return []
    known = [value.strip() for value in values if value.strip() not in _EMPTY]
    signed = [value for value in known if not _WHOLE.fullmatch(value)]
    return signed if all(number.fullmatch(value) for value in signed) else []


def _typed(values: Sequence[str], decimal: str) -> pd.Series:
    """Read a column of numbers alone; empty cells are missing."""
    column = pd.Series([value.strip() for value in values], dtype=object)
    column = column.mask(column.isin(_EMPTY), None)
    known = column.dropna()
    if known.empty or _as_numbers(known.iloc[:_LOOKED_AT], decimal).isna().any():
        return column
    if known.str.match(_PADDED).any():
        return column
    numbers = _as_numbers(column, decimal)
    return column if (numbers.isna() & column.notna()).any() else numbers


def _as_numbers(column: pd.Series, decimal: str) -> pd.Series:
    """Read text as numbers, NaN where it is not a number: as :func:`as_point`, a column at once."""
    if decimal != ".":
        pointed = column.str.contains(".", regex=False, na=False)
        column = column.str.replace(",", ".", regex=False).mask(pointed, "?")
    return pd.to_numeric(column, errors="coerce")


def as_point(value: str, decimal: str) -> str:
    """Write a number with a decimal point; a text with another sign becomes no number."""
    if decimal == ".":
        return value
    return value.replace(",", ".") if _COMMA.fullmatch(value) else value.replace(".", "?")
