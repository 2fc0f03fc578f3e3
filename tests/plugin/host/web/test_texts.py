"""What the queue page says, in every language: no text is missing, and none is left over."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orthanc_liver.host.web import routes

WEB = Path(routes.__file__).parent
TABLES = sorted((WEB / "texts").glob("*.json"))
# The review page speaks English only.
SCRIPTS = [WEB / name for name in ("page.js", "find.js", "cards.js", "app.js")]


class Static(HTMLParser):
    """The texts of a page, as the script that translates them sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in ("aria-label", "alt") and value}

    def handle_data(self, data: str) -> None:
        self.found.add(" ".join(data.split()))


def said() -> set[str]:
    page = Static()
    page.feed((WEB / "app.html").read_text())
    source = "\n".join(one.read_text() for one in SCRIPTS)
    called = re.findall(r"\bt\('((?:[^'\\]|\\.)+)'", source)
    tables = re.findall(r"const (?:STAGES|OUTCOMES|ENGINES) = \{(.*?)\};", source, re.DOTALL)
    values = [one for table in tables for one in re.findall(r": '([^']+)'", table)]
    return (page.found | set(called) | set(values)) - {""}


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.stem)
def test_every_text_is_in_every_table(table: Path) -> None:
    texts = json.loads(table.read_text())
    assert said() - set(texts) == set()
    everything = "\n".join(one.read_text() for one in [*SCRIPTS, WEB / "app.html"])
    flat = " ".join(everything.split())
    assert [one for one in texts if one not in flat] == []
    for english, translated in texts.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", translated))


def test_a_language_is_a_file() -> None:
    assert [one.stem for one in TABLES] == ["de"]
    assert all(json.loads(one.read_text()) for one in TABLES)
