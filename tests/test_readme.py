"""What the papers say of settings, routes and figures is so, and their links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from orthanc_liver import __version__
from orthanc_liver.host.settings import SECTION, settings_table
from orthanc_liver.host.web.routes import Routes
from orthanc_liver.sirt.inputs import QUANTITIES
from orthanc_liver.sirt.limits import LIMITS, Held

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text()
REFERENCE = (CHECKOUT / "docs" / "REFERENCE.md").read_text()
ACTIVITY = (CHECKOUT / "docs" / "ACTIVITY.md").read_text()
OPERATE = (CHECKOUT / "docs" / "OPERATE.md").read_text()
INSTALL = (CHECKOUT / "docs" / "INSTALL.md").read_text()
PAPERS = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("model/**/*.md")]
LINKS = [
    (paper, link)
    for paper in PAPERS
    for link in re.findall(r"\]\((?!https?:)(.+?)\)", paper.read_text())
]
GUIDE = (CHECKOUT / "docs" / "GUIDE.md").read_text()
# In the first columns of its tables: words of warnings and reasons.
QUOTED = [
    quoted
    for row in re.findall(r'^\| ("[^|]+) \|', GUIDE, re.MULTILINE)
    for quoted in re.findall(r'"(.+?)"', row)
]
FIGURES = re.findall(r"^\| .+ \| (.*\d.*) \| \[.+\]\((.+)\) \|$", README, re.MULTILINE)
ROUTES = re.findall(r"^\| `(GET|POST) /liver/(\S+)` \|", REFERENCE, re.MULTILINE)


def example(route: str) -> str:
    """A route of the table with an identifier in its place."""
    resource = "-".join(["0123abcd"] * 5)
    job = "01234567-0123-0123-0123-0123456789ab"
    return route.replace("{id}", job if route.startswith(("jobs/", "deliveries/")) else resource)


def test_the_settings_table_is_the_codes() -> None:
    rows = re.findall(r"^\| `([A-Z]\w+)` \| `(.+?)` \| (.+) \|$", REFERENCE, re.MULTILINE)
    assert [(name, json.loads(default), meaning) for name, default, meaning in rows] == [
        (row.name, row.default, row.meaning) for row in settings_table()
    ]


def test_the_tables_of_inputs_and_limits_are_the_codes() -> None:
    for name, one in QUANTITIES.items():
        unit = f" {one.unit}" if one.unit else ""
        row = f"| `{name}` | {one.low:g} to {one.high:g}{unit} | "
        usual = f"{one.usual[0]:g} to {one.usual[1]:g}{unit} |" if one.usual else ""
        assert f"\n{row}{usual}" in ACTIVITY
    for limit in LIMITS.values():
        held_for = Held(limit, "", 0.0).holds_for or "every treatment"
        figure = f"{limit.bound} {limit.gy:g}"
        assert f"\n| `{limit.name}` | {limit.dose} | {figure} | {held_for} |\n" in ACTIVITY


def test_every_metric_is_documented() -> None:
    code = (CHECKOUT / "plugin/orthanc_liver/host/web/metrics.py").read_text()
    names = set(re.findall(r'"(liver_\w+?)(?:_count|_sum)?"', code))
    rows = "".join(re.findall(r"^\| `liver_.+? \|", OPERATE, re.MULTILINE))
    assert names == set(re.findall(r"liver_\w+", rows))


def test_the_shipped_configuration_spells_the_defaults_out() -> None:
    shipped = json.loads((CHECKOUT / "orthanc.json").read_text())
    assert shipped[SECTION] == {row.name: row.default for row in settings_table()}
    assert shipped["RemoteAccessAllowed"] is False


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_every_documented_route_is_there(method: str, route: str) -> None:
    path = example(route)
    output = Mock()
    Routes(Mock()).answer(output, f"/liver/{path}", groups=(path,), method="PATCH")
    [(allowed,)] = [call.args for call in output.SendMethodNotAllowed.call_args_list]
    assert method in allowed.split(", ")


def test_every_route_is_documented() -> None:
    assert len(ROUTES) == len(Routes(Mock())._table)


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_the_authorization_plugin_is_told_of_every_route_once(method: str, route: str) -> None:
    told = re.findall(r'^ +\["(get|post)", "(.+?)", "(all\|.+?)"\]', INSTALL, re.MULTILINE)
    fits = [verb for verb, pattern, _ in told if re.search(pattern, f"/liver/{example(route)}")]
    assert fits.count(method.lower()) == 1


def test_the_table_of_who_may_do_what_has_every_route_that_does_something() -> None:
    [table] = re.findall(
        r"^\| what \| routes \| permission.*?\n\n", OPERATE, re.MULTILINE | re.DOTALL
    )
    rows = re.findall(r"^\| .+? \| (.+?) \| `(.+?)` \|$", table, re.MULTILINE)
    told = {(path, who) for cell, who in rows for path in re.findall(r"`([a-z/{}]+)`", cell)}
    example_told = re.findall(r'^ +\["post", "(.+?)", "all\|(.+?)"\]', INSTALL, re.MULTILINE)
    for method, route in ROUTES:
        if method == "POST":
            [who] = [
                who for path, who in example_told if re.search(path, f"/liver/{example(route)}")
            ]
            assert (route, who) in told


@pytest.mark.parametrize(
    ("paper", "link"), LINKS, ids=[f"{paper.name}-{link}" for paper, link in LINKS]
)
def test_every_link_within_the_papers_leads_somewhere(paper: Path, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = paper.parent / name if name else paper
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in [anchor_of(heading) for heading in headings]


def anchor_of(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("figure", "paper"), FIGURES)
def test_the_readmes_figures_are_those_of_the_papers(figure: str, paper: str) -> None:
    text = (CHECKOUT / paper).read_text()
    numbers = re.findall(r"\d+(?:\.\d+)?", figure)
    assert [
        one for one in numbers if not re.search(rf"(?<![\d.]){re.escape(one)}(?!\.?\d)", text)
    ] == []


def test_there_are_figures() -> None:
    assert len(FIGURES) >= 6


def sentences_of(path: Path) -> Iterator[str]:
    """Every text in a module, joined; what is put in at run time is ... in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value for part in node.values if isinstance(part, ast.Constant))
            yield "...".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.fixture(scope="module")
def said() -> str:
    modules = [*CHECKOUT.glob("plugin/**/*.py"), *CHECKOUT.glob("model/**/*.py")]
    return "\n".join(text for path in modules for text in sentences_of(path)).lower()


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_the_guide_explains_is_what_the_code_says(quoted: str, said: str) -> None:
    assert [part for part in quoted.lower().split("...") if part.strip() not in said] == []


def test_the_guide_quotes() -> None:
    assert len(QUOTED) > 40


def test_the_citation_names_this_version() -> None:
    citation = (CHECKOUT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [__version__]


def test_every_paper_is_in_the_site() -> None:
    shown = re.findall(r": (\S+\.md)$", (CHECKOUT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(str(paper.relative_to(CHECKOUT)) for paper in PAPERS)
