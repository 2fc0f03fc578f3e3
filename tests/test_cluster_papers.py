"""The unit and the compose file of docs/SCALE.md: what they name is there, and known."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from orthanc_liver.cli.main import _parser
from orthanc_liver.cli.worker import _FROM_VARIABLE
from orthanc_liver.cluster.broker import Access
from tests.support.orthanc_server import CHECKOUT

UNIT = CHECKOUT / "docs" / "orthanc-liver-worker@.service"
COMPOSE = CHECKOUT / "docker" / "compose.cluster.yaml"


def unit() -> ConfigParser:
    """systemd's form is that of an ini file, but for lines that go on."""
    parsed = ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign] # as its types say
    parsed.read_string(UNIT.read_text().replace("\\\n", " "))
    return parsed


def compose() -> Any:
    return yaml.safe_load(COMPOSE.read_text())


def check_command(words: list[str]) -> None:
    """The command line knows all of it, and the broker's address is one."""
    assert words[0].endswith("/.venv/bin/orthanc-liver") or words[0] == ".venv/bin/orthanc-liver"
    options = _parser().parse_args(words[1:])
    assert Access(options.broker, "").place
    assert str(options.orthancs).startswith("/etc/orthanc-liver/")


def test_the_units_command_is_known() -> None:
    service = unit()["Service"]
    check_command(shlex.split(service["ExecStart"]))
    assert "--name %i" in service["ExecStart"]
    assert f"# {_FROM_VARIABLE}=" in UNIT.read_text()


def test_whoever_installed_from_the_wheel_is_told_of_the_units_program() -> None:
    paper = (CHECKOUT / "docs" / "SCALE.md").read_text()
    program = shlex.split(unit()["Service"]["ExecStart"])[0]
    [pip] = re.findall(r"(/opt/\S+)/pip install '\S+\.whl", paper)
    assert f"wheel `{pip}/orthanc-liver` for its `{program}`" in paper


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    here = tmp_path / "orthanc-liver-worker@.service"
    program = shlex.split(unit()["Service"]["ExecStart"])[0]
    here.write_text(UNIT.read_text().replace(program, sys.executable))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, [line for line in ran.stderr.splitlines() if here.name in line]) == (
        0,
        [],
    )


def test_what_the_compose_file_names_is_there() -> None:
    services = compose()["services"]
    context = COMPOSE.parent / services["orthanc"]["build"]["context"]
    assert (context / "Dockerfile").is_file()
    assert set(services["orthanc"]["build"]["args"]) <= {
        line.split()[1].split("=")[0]
        for line in (context / "Dockerfile").read_text().splitlines()
        if line.startswith("ARG ")
    }
    of_ones_own = COMPOSE.read_text().split("services:")[0]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for source in (one.split(":")[0] for one in service["volumes"]):
            if source.startswith("./cluster/"):
                assert Path(source).name in of_ones_own
            elif source.startswith("."):
                assert (COMPOSE.parent / source).is_file()
            else:
                assert source in compose()["volumes"]


def test_the_compose_files_worker_speaks_to_its_broker() -> None:
    services = compose()["services"]
    words = shlex.split(services["worker"]["command"])
    check_command(words)
    broker = services["rabbitmq"]["environment"]
    url = f"amqp://{broker['RABBITMQ_DEFAULT_USER']}@rabbitmq/{broker['RABBITMQ_DEFAULT_VHOST']}"
    assert url in words
    assert url in COMPOSE.read_text().split("services:")[0]
    assert _FROM_VARIABLE in services["worker"]["environment"]
    [mounted] = [one.split(":")[1] for one in services["worker"]["volumes"]]
    assert mounted in words
