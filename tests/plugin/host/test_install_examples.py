"""Each example of docs/INSTALL.md starts Orthanc, beside the files that Debian installs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from orthanc_liver.cli.orthanc_configuration import parse
from tests.support.documented import DocumentedServer, Example, examples
from tests.support.orthanc_server import OrthancServer  # what conftest knows these tests by

DEBIANS = Path("/etc/orthanc")
# What starts no inference process, which these tests can do without.
INTERPRETER = Example(
    "", "/etc/orthanc/liver.json", {"LiverSegmentation": {"Interpreter": "/bin/false"}}
)
USER = ("alice", "a long password")
EXAMPLES = [one for one in examples() if one.file.startswith("/etc/orthanc/")]
SECTIONS = sorted({one.section for one in EXAMPLES})


def server(folder: Path) -> DocumentedServer:
    """Orthanc as Debian's packages leave it, with the script named."""
    files = {path.name: parse(path.read_text()) for path in DEBIANS.glob("*.json")}
    orthanc = DocumentedServer(folder, files)
    [script] = [one for one in EXAMPLES if "PythonScript" in one.content]
    orthanc.add(script)
    return orthanc


def status(orthanc: OrthancServer) -> dict[str, Any]:
    answer = requests.get(f"{orthanc.url}/liver/status", auth=USER, timeout=60)
    assert answer.status_code == 200
    return dict(answer.json())


@pytest.mark.parametrize("section", SECTIONS)
def test_orthanc_starts_with_the_examples_of_a_section(section: str, tmp_path: Path) -> None:
    orthanc = server(tmp_path)
    for one in [*EXAMPLES, INTERPRETER]:
        if one.section in (section, ""):
            orthanc.add(one)
    with orthanc.until_killed():
        assert status(orthanc)["SettingsProblems"] == []


def test_orthanc_starts_with_all_examples_together(tmp_path: Path) -> None:
    orthanc = server(tmp_path)
    for one in [*EXAMPLES, INTERPRETER]:
        orthanc.add(one)
    with orthanc.until_killed():
        assert status(orthanc)["SettingsProblems"] == []


def test_a_key_in_a_second_file_keeps_orthanc_from_starting(tmp_path: Path) -> None:
    """Which is why the guide says of each key where it stands."""
    orthanc = server(tmp_path)
    orthanc.add(Example("", "/etc/orthanc/liver.json", {"DicomModalities": {}}))
    with pytest.raises(RuntimeError, match="defined in 2 different configuration files"):
        orthanc.start()
