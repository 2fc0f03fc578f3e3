"""GET /liver/openapi.json: it says what the routes do, and schemathesis holds Orthanc to it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from orthanc_liver.host.web.openapi import DESCRIBED, openapi, path_of
from orthanc_liver.host.web.routes import Routes
from tests.plugin.host.conftest import Host
from tests.support.judges import in_venv
from tests.support.orthanc_server import CHECKOUT
from tests.support.patience import patience_s

TABLE = [(method, pattern.pattern) for method, pattern, _ in Routes(Mock())._table]
DOCUMENT = openapi(TABLE)
PAPERS = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")]
# What goes together, and what is in Orthanc, is more than a schema can say.
MORE_IS_ASKED = "/(outline|activity|decision|backfill|pull)$"
# TRACE never comes to a plugin: Orthanc itself answers it, by 400.
NOT_OURS = "unsupported_method"


def test_every_route_is_described_and_nothing_else() -> None:
    assert set(DESCRIBED) == {(method, path_of(pattern)) for method, pattern in TABLE}
    assert sum(map(len, DOCUMENT["paths"].values())) == len(TABLE)


def test_the_reference_says_of_each_route_what_the_document_says() -> None:
    reference = (CHECKOUT / "docs" / "REFERENCE.md").read_text()
    rows = re.findall(r"^\| `(GET|POST) /liver/(\S+)` \| (.+) \|$", reference, re.MULTILINE)
    told = {(method, path): re.sub(r" \(\[.+?\]\(.+?\)\)", "", text) for method, path, text in rows}
    assert told == {route: one.text for route, one in DESCRIBED.items()}


def every(key: str, of: Any) -> Iterator[Any]:
    """What stands under a key, at whatever depth."""
    if isinstance(of, dict):
        yield from (value for name, value in of.items() if name == key)
        of = list(of.values())
    if isinstance(of, list):
        for one in of:
            yield from every(key, one)


def test_what_it_refers_to_is_there_and_used() -> None:
    used = set(every("$ref", DOCUMENT))
    assert used == {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    names = list(every("operationId", DOCUMENT))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "command",
    [
        found.replace("\\\n", "")
        for paper in PAPERS
        for found in re.findall(r"\bcurl (?:.*\\\n)*.*", paper.read_text())
        if "/liver/" in found
    ],
)
def test_documented_commands_send_what_the_document_takes(command: str) -> None:
    [path] = re.findall(r"localhost:8042(/liver/\S+)", command)
    operations = DOCUMENT["paths"][path.replace("/ID/", "/{id}/")]
    sent = re.findall(r"-d '(.+?)'", command, re.DOTALL)
    assert ("post" if sent else "get") in operations
    for body in map(json.loads, sent):
        assert "-H 'Content-Type: application/json'" in command
        content = operations["post"]["requestBody"]["content"]["application/json"]
        name = content["schema"]["$ref"].rpartition("/")[2]
        schema = DOCUMENT["components"]["schemas"][name]
        fits = [one for one in schema.get("oneOf", [schema]) if set(one["required"]) <= set(body)]
        assert [set(body) - set(one["properties"]) for one in fits] == [set()]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, dict[str, str]]]:
    """A server of its own, and what there is to ask for: its jobs are run again and again."""
    host = Host(tmp_path_factory.mktemp("described"))
    with host.orthanc:
        host.ready()
        series = host.upload("described")
        job = host.ended_job_of(series)["ID"]
        study = host.orthanc.get(f"/series/{series}")["ParentStudy"]
        yield host, {"series": series, "studies": study, "jobs": job}


@pytest.mark.timeout(900)
def test_schemathesis_finds_that_the_server_does_what_it_says(
    described: tuple[Host, dict[str, str]], tmp_path: Path
) -> None:
    program = in_venv("schemathesis", "st")
    host, ids = described
    of_operations = [
        f'[[operations]]\ninclude-path-regex = "^/liver/{kind}/"\n'
        f'parameters = {{ "path.id" = "{one}" }}'
        for kind, one in ids.items()
    ]
    (tmp_path / "schemathesis.toml").write_text(
        "\n".join(
            [
                "[generation]\ndeterministic = true",
                *of_operations,
                f'[[operations]]\ninclude-path-regex = "{MORE_IS_ASKED}"\n'
                "checks.positive_data_acceptance.enabled = false",
            ]
        )
    )
    command = [program, "--no-color", "run", f"{host.orthanc.url}/liver/openapi.json"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--no-shrink"]
    asked = subprocess.run(
        [*command, "--exclude-checks", NOT_OURS, "--continue-on-failure"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience_s(600),
        check=False,
    )
    assert asked.returncode == 0, asked.stdout[-20_000:] + asked.stderr
    tested = re.search(r"Tested: (\d+)", asked.stdout)
    assert tested, asked.stdout
    assert int(tested[1]) == len(TABLE)
