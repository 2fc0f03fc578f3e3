"""Who may do what: passwords, ports, bodies, files, and what is never said of a patient."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pydicom
import pytest
import requests

from orthanc_liver.host.plugin import register
from tests.plugin.host.conftest import Host, RealEngineHost
from tests.plugin.host.web.test_routes import NO_RESOURCE, every_route
from tests.support.ct_writer import write_ct_series
from tests.support.patience import patience_s, wait_for
from tests.support.processes import children_of
from tests.support.threshold_engine import with_liver

USER, PASSWORD = "physicist", "correct horse"
MARKER = "Zzmarker"


def test_every_callback_of_ours_is_the_table_of_routes() -> None:
    """Else every_route() would not be all that can be called."""
    module = SimpleNamespace(
        OrthancException=RuntimeError,
        ChangeType=SimpleNamespace(),
        ResourceType=SimpleNamespace(),
        GetConfiguration=lambda: "{}",
        RegisterRestCallback=Mock(),
        RegisterOnChangeCallback=Mock(),
        ExtendOrthancExplorer=Mock(),
        LogError=Mock(),
        LogWarning=Mock(),
    )
    register(module)
    assert [call.args[0] for call in module.RegisterRestCallback.call_args_list] == ["/liver/(.*)"]


@pytest.fixture(scope="module")
def locked_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("locked"))
    one.orthanc.overrides = {
        **one.orthanc.overrides,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
    }
    with one.orthanc.until_killed():
        yield one


@pytest.mark.parametrize(("method", "path"), every_route())
def test_every_route_wants_the_password(locked_host: Host, method: str, path: str) -> None:
    url = locked_host.orthanc.url + path
    assert requests.request(method, url, timeout=patience_s(10)).status_code == 401
    wrong = requests.request(method, url, auth=(USER, "wrong"), timeout=patience_s(10))
    assert wrong.status_code == 401
    right = requests.request(method, url, auth=(USER, PASSWORD), timeout=patience_s(10))
    assert right.status_code in (200, 400, 404, 409)


@pytest.mark.parametrize(
    ("method", "path"), [route for route in every_route() if route[0] != "GET"]
)
def test_no_body_is_too_much(host: Host, method: str, path: str) -> None:
    """Megabytes, or brackets without end, end in an error message, and Orthanc lives on."""
    series_id = host.upload("bodies")
    path = path.replace(NO_RESOURCE, series_id)
    for body in (b"x" * 5_000_000, b"[" * 100_000, b'{"Force": ' * 600, b"\xff\xfe\x00"):
        answer = host.orthanc.call(method, path, body)
        assert 400 <= answer.status_code < 500
        assert answer.json()["Message"]
        assert len(answer.text) < 2000
    assert host.orthanc.get("/liver/status")["SettingsProblems"] == []


def listening(pid: int) -> set[int]:
    """The TCP and UDP ports on which a process waits for others."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(str(link.readlink()))
        except FileNotFoundError:
            continue
    ports = set()
    for name, waits in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == waits and f"socket:[{rest[5]}]" in own:
                ports.add(int(local.rsplit(":", 1)[1], 16))
    return ports


def below(pid: int) -> list[int]:
    """All processes below one, at whatever depth."""
    direct = children_of(pid)
    return direct + [deeper for child in direct for deeper in below(child)]


def test_nothing_of_ours_listens(real_engine_host: RealEngineHost) -> None:
    orthanc = real_engine_host.orthanc
    real_engine_host.ready()
    assert orthanc.process is not None
    assert listening(orthanc.process.pid) == {orthanc.http_port, orthanc.dicom_port}
    ours = below(orthanc.process.pid)
    assert ours
    assert [port for pid in ours for port in listening(pid)] == []


class Folder:
    """Looks into a folder all the time, and remembers every file and who might read it."""

    def __init__(self, path: Path) -> None:
        self.seen: dict[str, int] = {}
        self._path = path
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._enough.wait(0.005):
            for path in self._path.rglob("*"):
                try:
                    self.seen[str(path)] = stat.S_IMODE(path.stat().st_mode)
                except FileNotFoundError:
                    continue


def marked_ct(seed: str) -> list[pydicom.FileDataset]:
    """A patient whose every text holds the marker."""
    ct = write_ct_series(with_liver(), uid_seed=seed, patient_name=f"{MARKER}^Name")
    for one in ct:
        one.PatientID = f"{MARKER}-{seed}"
        one.AccessionNumber = MARKER
        one.StudyDescription = one.SeriesDescription = one.ProtocolName = f"{MARKER} text"
        one.PatientComments = one.ImageComments = MARKER
        one.InstitutionName = one.OperatorsName = one.ReferringPhysicianName = MARKER
        one.private_block(0x0009, "SOMEBODY", create=True).add_new(1, "LO", MARKER)
    return ct


def on_resources(host: Host) -> str:
    """All that our code ever left on patients, studies, series and instances."""
    kept = []
    for level in ("patients", "studies", "series", "instances"):
        for resource in host.orthanc.get(f"/{level}"):
            for name in host.orthanc.get(f"/{level}/{resource}/metadata"):
                path = f"/{level}/{resource}/metadata/{name}"
                kept += [path, host.orthanc.call("GET", path).text]
            if level == "series":
                kept.append(host.orthanc.call("GET", f"/liver/series/{resource}/preview").text)
    return "\n".join(kept)


def test_no_word_of_the_patient_and_no_file_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job that is well, one refused, one in trouble, and kill -9 of Orthanc at the end."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    folder = Folder(temporary)
    host = RealEngineHost(tmp_path / "host", Retries=0)
    said = []
    with host.orthanc.until_killed():
        host.ready()
        well = host.store(marked_ct("well"))
        assert host.ended_job_of(well)["Content"]["Outcome"] == "segmented"
        damaged = marked_ct("damaged")
        damaged[5].PixelData = damaged[5].PixelData[:-9]
        damaged[6].RescaleType = MARKER
        refused = host.store(damaged)
        assert host.ended_job_of(refused)["Content"]["Outcome"] == "refused"
        host.real_engine.behave("out of memory")  # says the name in its error, as a library may
        os.kill(host.real_engine.starts()[-1], 9)
        wait_for("a new process", lambda: len(host.real_engine.starts()) == 2, 30)
        host.ready()
        assert host.ended_job_of(host.store(marked_ct("no room")))["State"] == "Success"
        for path in ("/liver/status", "/liver/jobs?expand"):
            said.append(host.orthanc.call("GET", path).text)
        for path in (f"series/{well}/segment", f"series/{well}/activity", f"series/{well}/x"):
            said.append(host.orthanc.call("POST", f"/liver/{path}", b"{").text)
        said.append(on_resources(host))
        for pid in host.real_engine.starts()[-1:]:
            said.append(Path(f"/proc/{pid}/cmdline").read_text())
            said.append(Path(f"/proc/{pid}/environ").read_text())
        host.orthanc.kill9()
    folder.stop()
    said += [host.orthanc.log(), host.orthanc.properties()]
    said.append(json.dumps(folder.seen))
    assert MARKER not in "\n".join(said)
    assert "Unfinished" in host.orthanc.properties()
    assert "liver_ml" in "\n".join(said)  # what was searched is what there is
    ours = {path: mode for path, mode in folder.seen.items() if "Orthanc" not in path}
    assert all(mode & 0o077 == 0 for mode in ours.values()), ours
    wait_for("an empty folder", lambda: not list(temporary.iterdir()), 5)
