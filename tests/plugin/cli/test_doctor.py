"""orthanc-liver doctor: what is whole is said to be, and what is not with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from liver_unet.weights import default_weights
from orthanc_liver import __version__
from orthanc_liver.cli import checkup
from orthanc_liver.cli.checkup import Finding
from orthanc_liver.cli.exit_status import SOME_FAILED
from orthanc_liver.cli.main import main
from orthanc_liver.cli.orthanc_configuration import OrthancConfiguration, read_configuration
from orthanc_liver.host.settings import Settings
from tests.support.orthanc_server import CHECKOUT, OrthancServer, free_port
from tests.support.patience import wait_for

SCRIPT = str(CHECKOUT / "plugin" / "orthanc_plugin.py")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OrthancServer]:
    orthanc = OrthancServer(tmp_path / "orthanc", {"PythonScript": SCRIPT})
    with orthanc.until_killed():
        wait_for("the model", lambda: orthanc.get("/liver/status")["Engine"] == "ready", 120)
        yield orthanc


def mends(found: list[Finding]) -> list[str]:
    return [one.mend for one in found if one.mend]


def test_a_whole_installation(server: OrthancServer, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(server.folder / "orthanc.json")
    status = main(["doctor", "--configuration", place, "--url", server.url])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name]
        for name in ("configuration", "weights", "weights", "engine", "memory", "disk", "Orthanc")
    ] + [["ok", "plugin"]], lines
    assert status == 0


def test_where_no_orthanc_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration = {"PythonScript": SCRIPT, "LiverSegmentation": {"Interpreter": "/bin/false"}}
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    words = ["--configuration", str(tmp_path), "--url", f"http://127.0.0.1:{free_port()}"]
    assert main(["doctor", *words]) == SOME_FAILED
    said = capsys.readouterr().out
    assert "fix   engine         /bin/false: the inference process ended with code 1\n" in said
    assert ": start it, or name it by --url (" in said


@pytest.mark.parametrize(
    ("files", "mend"),
    [
        ({"a.json": {}}, f'name the plugin\'s script: {{ "PythonScript": "{SCRIPT}" }}'),
        (
            {"a.json": {"PythonScript": "/none.py"}},
            f"PythonScript is /none.py, which is not there: name {SCRIPT}",
        ),
        (
            {"a.json": {"PythonScript": SCRIPT, "Name": "a"}, "b.json": {"Name": "b"}},
            "Name stands in {folder}/a.json and in {folder}/b.json: take one away",
        ),
        (
            {"a.json": {"PythonScript": SCRIPT, "LiverSegmentation": {"Threads": -1}}},
            "LiverSegmentation.Threads: must be a whole number from 0 to 1024",
        ),
    ],
)
def test_what_is_wrong_with_a_configuration(
    files: dict[str, dict[str, Any]], mend: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text("// Debian's\n" + json.dumps(content))
    found = checkup.look_at_configuration(read_configuration(tmp_path), tmp_path)[1]
    assert mends(found) == [mend.replace("{folder}", str(tmp_path))]


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    assert "a.json is not JSON" in read_configuration(tmp_path).problems[0]
    [problem] = read_configuration(tmp_path / "none.json").problems
    assert problem.endswith("none.json cannot be read (No such file or directory)")


def test_weights_that_were_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(default_weights() / "coarse", tmp_path / "coarse")
    with (tmp_path / "coarse" / "liver.safetensors").open("ab") as file:
        file.write(b"more")
    monkeypatch.setattr(checkup, "DEFAULT_WEIGHTS", tmp_path)
    assert mends(checkup.look_at_weights()) == [
        "they are not whole: install again",
        "they are not those of the spec: install again",
    ]


def test_too_little_memory_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [finding] = checkup.look_at_memory(Settings(), "MemTotal:  4096000 kB\nMemFree: 1 kB\n")
    assert finding == Finding(
        "memory",
        "4000 MiB",
        "MaximumMemoryMib is 6144: lower it, so that large series are refused",
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 2**30))
    there = OrthancConfiguration({"StorageDirectory": str(tmp_path / "not" / "yet")})
    assert mends(checkup.look_at_disk(there)) == ["make room: a CT takes a quarter of a GiB"]
    assert checkup.look_at_disk(OrthancConfiguration()) == []


def test_an_orthanc_that_wants_a_user(tmp_path: Path) -> None:
    guarded = {"AuthenticationEnabled": True, "RegisteredUsers": {"a": "b"}, "PythonScript": None}
    server = OrthancServer(tmp_path, guarded)
    with server.until_killed():
        assert mends(list(checkup.Orthanc(server.url, "").look())) == [
            "it asks for a user: give --user, and the password in ORTHANC_PASSWORD"
        ]
        found = list(checkup.Orthanc(server.url, "a:b").look())
        assert mends(found) == ["name its script and restart Orthanc"]


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        ({"Version": "0.0.1"}, "restart Orthanc: this is "),
        ({"EngineProblem": "no weights"}, "no weights"),
        ({"SettingsProblems": ["Threads: wrong"]}, "Threads: wrong"),
        ({"Threads": {"intake": "ended"}}, "its thread intake: ended"),
    ],
)
def test_what_the_plugin_says_of_itself(change: dict[str, Any], mend: str) -> None:
    status = {
        "Version": __version__,
        "Engine": "ready",
        "EngineProblem": "",
        "SettingsProblems": [],
        "Threads": {"intake": "running"},
    }
    assert mends(list(checkup._of_status(status))) == []
    [told] = mends(list(checkup._of_status(status | change)))
    assert told.startswith(mend)
