"""Laws of the guide: every page is listed, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hmx.cli.main import hmx
from tests.conftest import ROOT

PAGES = sorted((ROOT / "hmx" / "guide").glob("*.md"))


def show(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(hmx, ["guide", *words])
    return result.exit_code, result.output


def test_the_front_page_lists_every_topic_once() -> None:
    code, text = show()
    assert code == 0
    listed = re.findall(r"^\| `([\w-]+)` \|", text, flags=re.MULTILINE)
    assert sorted(listed) == [page.stem for page in PAGES if page.stem != "index"]
    assert show("index") == (0, text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_shown_whole(page: Path) -> None:
    assert show(page.stem) == (0, page.read_text(encoding="utf-8").rstrip("\n") + "\n")


def test_a_wrong_topic_names_the_right_one() -> None:
    code, text = show(f"{PAGES[0].stem}x")
    assert code == 2
    assert f"Did you mean '{PAGES[0].stem}'?" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_of_a_page_exist(page: Path) -> None:
    for line in re.findall(r"^hmx (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        words = line.partition("#")[0].split()
        command = hmx.commands[words[0]]
        flags = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= flags | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_catalogs_of_a_page_are_named_as_they_are(page: Path) -> None:
    for name in re.findall(r"catalogs/(\w+\.yaml)", page.read_text(encoding="utf-8")):
        assert (ROOT / "catalogs" / name).is_file()
