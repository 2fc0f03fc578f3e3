"""The container's start script, without a container: every password lets its user in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests
from requests.auth import HTTPBasicAuth

from tests.support.orthanc_server import CHECKOUT, OrthancServer, orthanc_program
from tests.support.patience import wait_for

START = CHECKOUT / "docker" / "start.sh"
AS_IT_IS_SHIPPED = CHECKOUT / "docker" / "orthanc.json"
HARD = 'a"b\\c", "root": "${HOME} $x /* é //'


def start(folder: Path, orthanc: str, password: str) -> subprocess.Popen[str]:
    """Run the script with a program of ours in the place of Orthanc."""
    (folder / "Orthanc").write_text(f"#!/bin/sh\n{orthanc}\n")
    (folder / "Orthanc").chmod(0o755)
    return subprocess.Popen(
        ["sh", str(START)],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "ORTHANC_PASSWORD": password},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("password", ["plain", HARD, "two\nlines"])
def test_the_configuration_holds_the_password_as_it_is(password: str, tmp_path: Path) -> None:
    process = start(tmp_path, 'printf %s "$ORTHANC_PASSWORD_AS_JSON"', password)
    [inside, _] = process.communicate()
    shipped = AS_IT_IS_SHIPPED.read_text()
    filled = json.loads(shipped.replace("${ORTHANC_PASSWORD_AS_JSON}", inside))
    assert filled["RegisteredUsers"] == {"orthanc": password}


def test_without_a_password_nothing_starts(tmp_path: Path) -> None:
    process = start(tmp_path, "echo started", "")
    assert process.communicate()[0] == ""
    assert process.returncode == 1


def test_orthanc_lets_in_who_has_it(tmp_path: Path) -> None:
    server = OrthancServer(tmp_path, {})
    server._choose_ports()
    configuration = json.loads(AS_IT_IS_SHIPPED.read_text()) | {
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "storage"),
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "Plugins": [],
        "PythonScript": None,
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    program = f'exec {orthanc_program()} "{tmp_path}/orthanc.json" 2>/dev/null'
    process = start(tmp_path, program, HARD)
    try:
        wait_for("Orthanc", lambda: process.poll() is not None or server.answers(), 60.0)
        address = f"{server.url}/system"
        status = [
            requests.get(
                address, auth=HTTPBasicAuth(user.encode(), word.encode()), timeout=60
            ).status_code
            for user, word in [("orthanc", HARD), ("orthanc", "other"), ("root", "${HOME}")]
        ]
        assert status == [200, 401, 401]
    finally:
        process.kill()
        process.communicate()
