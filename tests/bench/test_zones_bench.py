"""The benchmark of zones is run once, small."""

from __future__ import annotations

import json

import pytest

from tests.bench import zones


def rows_of(out: str) -> dict[str, dict[str, object]]:
    return {row["what"]: row for row in json.loads(out)}


def test_bits_and_held_out_years_have_rows_with_bars(capsys: pytest.CaptureFixture[str]) -> None:
    zones.main(["--case", "bits", "demo", "--quick", "--json"])
    rows = rows_of(capsys.readouterr().out)
    for what in (
        "draws of tiles of 32 px equal one pass",
        "tables of tiles of 64 px equal one pass",
    ):
        assert rows[what]["passes"], what
    assert rows["+5 y: expected / observed, training origins"]["low"] == 0.85
    shares = [row for what, row in rows.items() if what.endswith("95 %, with tolerance")]
    assert len(shares) == 10  # three squares, cells and the region, at two leads
    assert all(0 <= float(str(row["value"])) <= 1 for row in shares)
    scores = [row for what, row in rows.items() if "interval score over bounds" in what]
    assert all(float(str(row["value"])) > 0 for row in scores)


def test_a_figure_beyond_its_bar_fails(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [zones.Row("x", "share", 0.92, 0.93), zones.Row("x", "score", 0.7, None, 0.65)]
    assert [row.passes for row in rows] == [False, False]
    assert "FAIL" in rows[0].text()
    assert zones.Row("x", "for the reader", 5.0).passes
    assert zones.Row("x", "ends count", 0.93, 0.93).passes


@pytest.mark.usefixtures("here")
def test_costs_have_rows(capsys: pytest.CaptureFixture[str]) -> None:
    zones.main(["--case", "cost", "--quick", "--json"])
    rows = rows_of(capsys.readouterr().out)
    assert float(str(rows["CPU s per Mpx, draw and lead"]["value"])) > 0
    peaks = [row for what, row in rows.items() if what.startswith("peak of totals")]
    assert all(float(str(row["value"])) > 50 for row in peaks)


def test_a_model_belongs_to_one_case() -> None:
    with pytest.raises(SystemExit):
        zones.main(["--model", "somewhere"])
