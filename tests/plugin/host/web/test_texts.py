"""What the pages say, in every language: no text is missing, and none is left over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orthanc_liver.host.activity.form import form
from orthanc_liver.host.web import routes

WEB = Path(routes.__file__).parent
TABLES = sorted((WEB / "texts").glob("*.json"))
PAGES = [WEB / "app.html", WEB / "review.html", WEB / "quality.html"]
# Orthanc Explorer itself speaks English only.
SCRIPTS = [one for one in sorted(WEB.glob("*.js")) if one.name != "explorer.js"]
SIGNS = {"", "+", "\N{MINUS SIGN}"}
_TABLES_OF_TEXTS = "STAGES|OUTCOMES|ENGINES|SURE|APPROVALS|RULES|CLICKS"


class Static(HTMLParser):
    """The texts of a page, as the script that translates them sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in ("aria-label", "alt") and value}

    def handle_data(self, data: str) -> None:
        if "JavaScript" not in data:  # said in all languages at once, for nobody translates it
            self.found.add(" ".join(data.split()))


def said() -> set[str]:
    page = Static()
    for one in PAGES:
        page.feed(one.read_text())
    source = "\n".join(one.read_text() for one in SCRIPTS)
    called = re.findall(r"\bt\('((?:[^'\\]|\\.)+)'", source)
    tables = re.findall(rf"const (?:{_TABLES_OF_TEXTS}) = \{{(.*?)\}};", source, re.DOTALL)
    values = [one for table in tables for one in re.findall(r": '([^']+)'", table)]
    [windows] = re.findall(r"const WINDOWS = \{(.*?)\};", source)
    presets = re.findall(r"(\w+): \[", windows)
    return (page.found | set(called) | set(values) | set(presets) | set(of_the_form())) - SIGNS


def of_the_form() -> Iterator[str]:
    """What the server says of the activity's inputs, and the page translates."""
    asks = form()
    yield from (one["Title"] for one in asks["Methods"].values())
    yield from (one["Meaning"] for one in [*asks["Inputs"].values(), *asks["Choices"].values()])
    yield from (option for one in asks["Choices"].values() for option in one["Options"])


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.stem)
def test_every_text_is_in_every_table(table: Path) -> None:
    texts = json.loads(table.read_text())
    assert said() - set(texts) == set()
    everything = "\n".join([*(one.read_text() for one in [*SCRIPTS, *PAGES]), *of_the_form()])
    flat = " ".join(everything.split())
    assert [one for one in texts if one not in flat] == []
    for english, translated in texts.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", translated))


def test_a_language_is_a_file() -> None:
    assert [one.stem for one in TABLES] == ["de"]
    assert all(json.loads(one.read_text()) for one in TABLES)
