"""What the README says of settings and routes is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from orthanc_liver.host.routes import Routes
from orthanc_liver.host.settings import SECTION, settings_table

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text()


def test_the_settings_table_is_the_codes() -> None:
    rows = re.findall(r"^\| `([A-Z]\w+)` \| `(.+?)` \| (.+) \|$", README, re.MULTILINE)
    assert [(name, json.loads(default), meaning) for name, default, meaning in rows] == [
        (row.name, row.default, row.meaning) for row in settings_table()
    ]


def test_the_shipped_configuration_spells_the_defaults_out() -> None:
    shipped = json.loads((CHECKOUT / "orthanc.json").read_text())
    assert shipped[SECTION] == {row.name: row.default for row in settings_table()}
    assert shipped["RemoteAccessAllowed"] is False


@pytest.mark.parametrize(
    ("method", "route"), re.findall(r"^\| `(GET|POST) /liver/(\S+)` \|", README, re.MULTILINE)
)
def test_every_route_of_the_readme_is_there(method: str, route: str) -> None:
    resource = "-".join(["0123abcd"] * 5)
    job = "01234567-0123-0123-0123-0123456789ab"
    path = route.replace("{id}", job if route.startswith(("jobs/", "deliveries/")) else resource)
    output = Mock()
    Routes(Mock()).answer(output, f"/liver/{path}", groups=(path,), method="PATCH")
    output.SendMethodNotAllowed.assert_called_once_with(method)


def test_every_route_is_in_the_readme() -> None:
    assert len(re.findall(r"^\| `(?:GET|POST) /liver/", README, re.MULTILINE)) == len(
        Routes(Mock())._table
    )
