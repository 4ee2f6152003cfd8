"""The guide page of points is true: its code runs, and it names every option."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from hmx.cube.categories import has_classes
from hmx.points.options import PointsOptions
from tests.conftest import ROOT

PAGE = (ROOT / "hmx" / "guide" / "points.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    first, second, third = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(first, "points.md", "exec"), {})
    assert "500 rows of points.csv: " in capsys.readouterr().out
    found: dict[str, Any] = {}
    exec(compile(second, "points.md", "exec"), found)
    assert has_classes(found["ds"]["cover"].attrs)
    exec(compile(third, "points.md", "exec"), found)
    np.testing.assert_allclose(found["table"]["stock"], [70.2, 50.4])


def test_the_page_names_every_option() -> None:
    table = PAGE.split("## Options")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.*?) \|", table, re.M))))
    assert named == set(PointsOptions.model_fields)
