"""Studies fetched from another real Orthanc, by DICOM and DICOMweb, and what a PACS may answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, build_context, evt

from tests.plugin.host.conftest import Host, error_of
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.orthanc_server import OrthancServer, free_port, merged
from tests.support.patience import wait_for

PATIENCE_S = 60.0
FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"


def source_orthanc(folder: Path, dicom_port_of_host: int) -> OrthancServer:
    """An archive that knows one other, the host."""
    overrides: dict[str, Any] = {
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "PythonScript": None,
        "LiverSegmentation": None,
        "DicomAet": "SOURCE",
        "DicomModalities": {"liver": ["ORTHANC", "127.0.0.1", dicom_port_of_host]},
    }
    source = OrthancServer(folder, overrides, http_port=free_port(), dicom_port=free_port())
    source.http_port, source.dicom_port = source._wanted_ports
    return source


def pulling_host(
    folder: Path, dicom_port: int, modality_port: int, web: str = "", **ours: Any
) -> Host:
    host = Host(folder, BackfillPauseSeconds=0, **ours)
    host.orthanc._wanted_ports = (0, dicom_port)
    servers = {"archive": [f"{web}/dicom-web/"]} if web else {}
    host.orthanc.overrides = merged(
        host.orthanc.overrides,
        {
            "DicomModalities": {"pacs": ["SOURCE", "127.0.0.1", modality_port]},
            "DicomWeb": {"Servers": servers},
        },
    )
    return host


def put(source: OrthancServer, name: str, accession: str, **series: Any) -> pydicom.Dataset:
    """Store a study there; returns a slice of it."""
    ct = small_ct(name, **series)
    for dataset in ct:
        dataset.AccessionNumber = accession
        source.call("POST", "/instances", to_bytes(dataset)).raise_for_status()
    return ct[0]


def pull(host: Host, **body: Any) -> None:
    host.orthanc.post("/liver/pull", body)


def ended(host: Host, state: str = "Done") -> dict[str, Any]:
    """The pull as soon as it is in a state."""

    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = host.orthanc.get("/liver/pull")
        return shown if shown["Pull"]["State"] == state else None

    return wait_for(f"pull {state}", look, PATIENCE_S)


def reason(host: Host) -> str:
    """Why the study that it is at is not here yet."""
    return wait_for(
        "a reason", lambda: str(host.orthanc.get("/liver/status")["Pull"]["Reason"]), PATIENCE_S
    )


def job_of_study(host: Host, of: pydicom.Dataset) -> dict[str, Any]:
    """The ended job of a series that came."""
    [series] = [one["ID"] for one in host.orthanc.lookup(of.SeriesInstanceUID)]
    return host.ended_job_of(series)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, OrthancServer]]:
    port = free_port()
    source = source_orthanc(tmp_path_factory.mktemp("source"), port)
    host = pulling_host(tmp_path_factory.mktemp("host"), port, source.dicom_port, source.url)
    with source.until_killed(), host.orthanc.until_killed():
        host.ready()
        yield host, source
        assert "SECRET" not in host.orthanc.log()


@pytest.mark.parametrize("way", [{"Modality": "pacs"}, {"DicomWeb": "archive"}])
@pytest.mark.parametrize("key", ["AccessionNumbers", "StudyInstanceUIDs"])
def test_a_study_comes_and_is_segmented(
    pair: tuple[Host, OrthancServer], way: dict[str, str], key: str
) -> None:
    host, source = pair
    name = f"{min(way.values())} {key}"
    there = put(source, name, f"SECRET-{len(name)}")
    value = there.AccessionNumber if key == "AccessionNumbers" else there.StudyInstanceUID
    pull(host, **way, **{key: [value]})
    shown = ended(host)
    assert shown["Failures"] == []
    assert (shown["Pull"]["Studies"], shown["Pull"]["Done"], shown["Pull"]["Failed"]) == (1, 1, 0)
    assert job_of_study(host, there)["State"] == "Success"
    assert (shown["AlreadyHere"], shown["Pull"]["AlreadyHere"]) == ([], 0)
    pull(host, **way, **{key: [value]})
    again = ended(host)
    assert again["AlreadyHere"] == [way | {key.removesuffix("s"): value}]
    assert (again["Failures"], again["Pull"]["AlreadyHere"]) == ([], 1)
    assert len(host.jobs_of(host.orthanc.lookup(there.SeriesInstanceUID)[0]["ID"])) == 1
    source.call("DELETE", f"/patients/{source.get('/patients')[0]}")


def test_what_cannot_be_had_is_told_and_the_rest_comes(pair: tuple[Host, OrthancServer]) -> None:
    host, source = pair
    for patient in ("of two, one", "of two, other"):
        put(source, patient, "SECRET-TWO")
    one, other = (put(source, f"both {n}", "SECRET-BOTH") for n in range(2))
    for way in ({"Modality": "pacs"}, {"DicomWeb": "archive"}):
        place = "modality pacs" if "Modality" in way else "DICOMweb server archive"
        numbers = ["SECRET-NONE", "SECRET-TWO", "SECRET-BOT", "SECRET-SMALL"]
        small = put(source, f"small {place}", "SECRET-SMALL", slices=3)
        pull(host, **way, AccessionNumbers=numbers, StudyInstanceUIDs=[one.StudyInstanceUID])
        shown = ended(host)
        assert [failure["AccessionNumber"] for failure in shown["Failures"]] == numbers
        assert [failure["Reason"] for failure in shown["Failures"]] == [
            f"{place} has no study with this AccessionNumber",
            f"{place} has studies of 2 patients with this AccessionNumber: ask for the right one "
            "by its StudyInstanceUID",
            f"{place} has no study with this AccessionNumber",
            "it came, but no series of it passes the settings (see filter/test)",
        ]
        assert (shown["Pull"]["Done"], shown["Pull"]["Failed"]) == (5, 4)
        assert job_of_study(host, one)["State"] == "Success"
        assert host.orthanc.lookup(other.StudyInstanceUID) == []
        [study] = source.lookup(small.StudyInstanceUID)
        source.call("DELETE", study["Path"])
    told = host.orthanc.get("/liver/pull")["Sources"]
    assert told == [{"Modality": "pacs"}, {"DicomWeb": "archive"}]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "the body must be"),
        (b'{"Modality": "pacs", "Studies": []}', "the body must be"),
        (b'{"Modality": "pacs", "DicomWeb": "archive"}', "the body must be"),
        (b'{"Modality": 1, "AccessionNumbers": ["A"]}', "Modality must be a name"),
        (b'{"Modality": "pacs"}', "name at least one study"),
        (b'{"Modality": "pacs", "AccessionNumbers": "A"}', "AccessionNumbers must be a list"),
        (b'{"Modality": "pacs", "AccessionNumbers": ["A*"]}', "AccessionNumbers must be texts"),
        (b'{"Modality": "pacs", "AccessionNumbers": [""]}', "AccessionNumbers must be texts"),
        (b'{"Modality": "pacs", "AccessionNumbers": ["A "]}', "AccessionNumbers must be texts"),
        (b'{"Modality": "pacs", "StudyInstanceUIDs": ["1.?"]}', "StudyInstanceUIDs must be DICOM"),
        (
            b'{"Modality": "other", "AccessionNumbers": ["A"]}',
            "Orthanc has no modality other in DicomModalities",
        ),
        (
            b'{"DicomWeb": "pacs", "AccessionNumbers": ["A"]}',
            "Orthanc has no DICOMweb server pacs in DicomWeb.Servers",
        ),
    ],
)
def test_bad_bodies_are_refused(pair: tuple[Host, OrthancServer], body: bytes, why: str) -> None:
    status, message = error_of(pair[0].orthanc.call("POST", "/liver/pull", body))
    assert status == 400
    assert message.startswith(why)


def test_a_pull_outlives_kill_9_and_a_source_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    source = source_orthanc(tmp_path / "source", port)
    host = pulling_host(tmp_path / "host", port, source.dicom_port, source.url, Automatic=False)
    with source.until_killed(), host.orthanc.until_killed():
        there = [put(source, f"killed {n}", f"SECRET-{n}") for n in range(4)]
        host.engine.behave("hang")
        pull(host, Modality="pacs", AccessionNumbers=[one.AccessionNumber for one in there[:3]])
        host.engine_at_work()
        host.orthanc.kill9()
        source.kill9()
        host.engine.behave()
        host.orthanc.start()
        assert reason(host).startswith("modality pacs cannot be reached or refuses our C-FIND")
        # What is asked for meanwhile comes after it.
        pull(host, DicomWeb="archive", StudyInstanceUIDs=[there[3].StudyInstanceUID])
        host.orthanc.kill9()
        source.start()
        host.orthanc.start()
        shown = ended(host)
        assert (shown["Pull"]["Done"], shown["Failures"]) == (4, [])
        for one in there:
            job = job_of_study(host, one)
            assert (job["State"], job["Priority"]) == ("Success", 0)
        assert "SECRET" not in host.orthanc.log()


def test_a_cancelled_pull_asks_for_no_more(tmp_path: Path) -> None:
    host = pulling_host(tmp_path, free_port(), free_port())
    with host.orthanc.until_killed():
        answer = host.orthanc.call("POST", "/liver/pull/cancel")
        assert error_of(answer) == (409, "no pull is running")
        pull(host, Modality="pacs", AccessionNumbers=["A", "B"])
        reason(host)
        assert host.orthanc.post("/liver/pull/cancel") == {}
        assert ended(host, "Cancelled")["Pull"]["Done"] == 0
        assert "pull asked: User=- Modality=pacs Studies=2" in host.orthanc.log()


class Peer:
    """A PACS that finds one study among others, and says to C-MOVE what a test wants."""

    def __init__(self) -> None:
        self.knows_us = True
        self.port = free_port()
        self._entity = AE(ae_title="SOURCE")
        self._entity.add_supported_context(FIND)
        self._entity.add_supported_context(MOVE)

    def __enter__(self) -> Peer:
        handlers: Any = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *failure: object) -> None:
        self._entity.shutdown()

    def _find(self, event: evt.Event) -> Iterator[tuple[int, pydicom.Dataset]]:
        """It does not know the key that is asked for."""
        for number in ("A", "B", "C"):
            answer = pydicom.Dataset()
            answer.QueryRetrieveLevel = "STUDY"
            answer.AccessionNumber = number
            answer.PatientID = f"patient {number}"
            answer.StudyInstanceUID = f"1.2.3.{ord(number)}"
            yield 0xFF00, answer

    def _move(self, event: evt.Event) -> Iterator[Any]:
        """To itself, which is not where it is wanted, and nothing at all."""
        if not self.knows_us:
            yield None, None
            return
        yield "127.0.0.1", self.port, {"contexts": [build_context(FIND)]}
        yield 0


def test_what_a_pacs_says_to_c_move_is_told(tmp_path: Path) -> None:
    with Peer() as peer:
        host = pulling_host(tmp_path, free_port(), peer.port)
        with host.orthanc.until_killed():
            for knows_us, why in (
                (False, "modality pacs refused the C-MOVE, for it does not know this Orthanc"),
                (True, "modality pacs says that it sent the study, but nothing came"),
            ):
                peer.knows_us = knows_us
                pull(host, Modality="pacs", AccessionNumbers=["B"])
                [failure] = ended(host)["Failures"]
                assert failure["Reason"].startswith(why)


def test_a_web_server_that_never_answers_holds_nothing_up(tmp_path: Path) -> None:
    """Orthanc's own call would keep all of the plugin waiting, 60 s long."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = pulling_host(
            tmp_path, free_port(), free_port(), f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        host.orthanc.start()
        try:
            pull(host, DicomWeb="archive", AccessionNumbers=["SECRET-SILENT"])
            asking, _ = silent.accept()
            with asking:
                assert b"AccessionNumber=SECRET-SILENT" in asking.recv(4096)
                host.orthanc.get("/liver/status")
                asking.setblocking(False)
                with pytest.raises(BlockingIOError):  # it still waits for an answer
                    asking.recv(1)
            assert reason(host).startswith("DICOMweb server archive")
            again, _ = silent.accept()
            with again:
                host.orthanc.stop()
        finally:
            host.orthanc.kill9()
        assert "SECRET" not in host.orthanc.log()
