"""The container without a container: its start script, its files, and a disk that is read-only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import requests
import yaml
from requests.auth import HTTPBasicAuth

from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.documented import INSTALL, DocumentedServer, examples
from tests.support.orthanc_server import (
    CHECKOUT,
    ENDS_WITH_US,
    OrthancServer,
    orthanc_program,
)
from tests.support.patience import wait_for
from tests.support.phantom import abdomen
from tests.support.sealed import sealed

START = CHECKOUT / "docker" / "start.sh"
DOCKERFILE, IGNORED = CHECKOUT / "Dockerfile", CHECKOUT / ".dockerignore"
AS_IT_IS_SHIPPED = CHECKOUT / "docker" / "orthanc.json"
USER = ("orthanc", "plain")
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


@pytest.fixture
def shipped(tmp_path: Path) -> DocumentedServer:
    """Orthanc with the image's configuration and the guide's example of what to mount beside it."""
    text = AS_IT_IS_SHIPPED.read_text().replace("${ORTHANC_PASSWORD_AS_JSON}", USER[1])
    server = DocumentedServer(tmp_path, {"orthanc.json": json.loads(text)})
    [mounted] = [one for one in examples() if one.file == "./liver.json"]
    server.add(mounted)
    return server


def test_what_is_mounted_goes_with_what_is_shipped(shipped: DocumentedServer) -> None:
    with shipped.until_killed():
        assert requests.get(f"{shipped.url}/dicom-web/studies", auth=USER, timeout=60).json() == []
        found = requests.get(f"{shipped.url}/modalities", auth=USER, timeout=60).json()
        assert found == ["pacs"]


def test_a_container_that_cannot_be_written_outlines_a_liver(
    shipped: DocumentedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but its volume can be; what compose.yaml gives it besides is a tmpfs."""
    monkeypatch.setattr(
        "tests.support.orthanc_server.ENDS_WITH_US", sealed(ENDS_WITH_US, shipped.folder)
    )
    shipped.files["liver.json"] = {"StableAge": 1}
    with shipped.until_killed():
        for one in write_ct_series(abdomen((44, 65, 85), (6.5, 5.0, 4.6)).volume):
            requests.post(f"{shipped.url}/instances", to_bytes(one), auth=USER, timeout=60)
        wait_for("the result", lambda: outcomes(shipped) == ["segmented"], 120)


def outcomes(server: DocumentedServer) -> list[str]:
    jobs = requests.get(f"{server.url}/liver/jobs?expand", auth=USER, timeout=60).json()
    return [job["Content"].get("Outcome") for job in jobs]


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


def test_orthanc_answers_a_slice_at_once_in_the_container_and_as_a_service() -> None:
    at_once = "TCP_NODELAY=1"
    service = (CHECKOUT / "docs" / "OPERATE.md").read_text().split("[Service]")[1].split("```")[0]
    assert f"\nENV {at_once}\n" in DOCKERFILE.read_text().split("FROM ${BASE}\n")[1]
    assert f"\nEnvironment={at_once}\n" in service


COMPOSE = {path.name: yaml.safe_load(path.read_text()) for path in CHECKOUT.glob("compose*.yaml")}
OVERRIDE = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", INSTALL, re.M | re.S)[0])


def test_compose_builds_what_is_there() -> None:
    assert set(COMPOSE) == {"compose.yaml", "compose.gpu.yaml"}
    service = COMPOSE["compose.yaml"]["services"]["orthanc"]
    assert (CHECKOUT / service["build"] / "Dockerfile").is_file()
    declared = set(COMPOSE["compose.yaml"]["volumes"])
    assert {one.split(":")[0] for one in service["volumes"]} == declared
    for other in (COMPOSE["compose.gpu.yaml"], OVERRIDE):
        assert set(other["services"]) == {"orthanc"}


def test_compose_and_image_agree_on_places() -> None:
    """What can be written is where Orthanc stores; what is mounted is where it reads."""
    service = COMPOSE["compose.yaml"]["services"]["orthanc"]
    image, shipped = DOCKERFILE.read_text(), json.loads(AS_IT_IS_SHIPPED.read_text())
    [volume] = [one.split(":")[1] for one in service["volumes"]]
    assert f"\nVOLUME {volume}\n" in image
    for key in ("StorageDirectory", "IndexDirectory"):
        assert shipped[key].startswith(f"{volume}/")
    assert service["read_only"] is True
    ports = {str(shipped["HttpPort"]), str(shipped["DicomPort"])}
    assert {one.split(":")[-1] for one in service["ports"]} == ports
    [configuration] = re.findall(r"^exec Orthanc (\S+)$", START.read_text(), re.M)
    [mounted] = OVERRIDE["services"]["orthanc"]["volumes"]
    assert mounted.split(":")[1].startswith(f"{configuration}/")
    for argument in COMPOSE["compose.gpu.yaml"]["services"]["orthanc"]["build"]["args"]:
        assert f"\nARG {argument}=" in image


def test_all_that_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = IGNORED.read_text().splitlines()
    for sources in re.findall("^COPY (?!--from)(.+) \\S+$", DOCKERFILE.read_text(), re.M):
        for name in sources.split():
            assert (CHECKOUT / name).exists()
            assert f"!{name}" in ignored
    work = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE.read_text(), re.M)
    for path in re.findall(r"docker/\w+\.\w+", DOCKERFILE.read_text()):
        assert (CHECKOUT / path).is_file()
        assert (CHECKOUT / path).suffix == ".json" or os.access(CHECKOUT / path, os.X_OK)
    script = Path(json.loads(AS_IT_IS_SHIPPED.read_text())["PythonScript"])
    assert (CHECKOUT / script.relative_to(work[0])).is_file()


@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(1200)
def test_what_is_trimmed_still_outlines_a_liver(tmp_path: Path) -> None:
    """Of a copy of the tests' environment: links, which trimming must take away and not follow."""
    trimmed = tmp_path / "trimmed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(trimmed)], check=True)
    packages = Path(sysconfig.get_path("purelib"))
    copy = trimmed / packages.relative_to(sys.prefix)
    library = packages / "torch" / "lib" / "libtorch_cpu.so"
    before = library.stat().st_size
    subprocess.run(["cp", "--archive", "--link", f"{packages}/.", str(copy)], check=True)
    subprocess.run(["sh", str(DOCKERFILE.parent / "docker" / "trim.sh"), str(trimmed)], check=True)
    assert library.stat().st_size == before
    for gone in ("torch/include", "torch/test", "numpy/_core/tests", "pip"):
        assert (packages / gone).exists()
        assert not (copy / gone).exists()
    places = f"{CHECKOUT / 'plugin'}:{CHECKOUT / 'model'}"
    program = [str(trimmed / "bin" / "python"), "-m", "orthanc_liver.cli.main"]
    done = subprocess.run(
        [*program, "constancy", "--accept", "--record", str(tmp_path / "record")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "phantom: segmented" in done.stdout) == (0, True), done.stderr
    loads = "orthanc_liver.engine.inference_process, orthanc_liver.engine.document_process"
    subprocess.run(
        [
            program[0],
            "-c",
            f"import {loads}, liver_unet.graph, pylibjpeg, libjpeg, openjpeg, jpeg_ls",
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": places},
        check=True,
    )
