"""Laws of the guide on time: what it says is what happens."""

from __future__ import annotations

import re

import pytest
import yaml

from hmx.ingest.options import Source
from hmx.settings import parse
from tests.conftest import ROOT

PAGE = (ROOT / "hmx" / "guide" / "time.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("line", LINES)
def test_a_source_of_the_guide_is_one(line: str) -> None:
    text = re.sub(r"path: ([^,\"}]*\{\w+\}[^,]*)", r'path: "\1"', line)
    ((_, source),) = yaml.safe_load(text).items()
    assert parse(Source, source, context={"base": "/data"}).axis is not None
