"""Between two real Orthancs, and to a DICOM server, that take some classes of objects only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import RTStructureSetStorage
from pynetdicom import AE, evt

from tests.plugin.host.conftest import Host
from tests.plugin.host.delivery.test_destinations import deliveries_of, sending_host
from tests.support.orthanc_server import OrthancServer, free_port
from tests.support.patience import wait_for

STORED = ["RTSTRUCT", "SEG", "SR"]
# DIMSE statuses by modality; what is not there is taken.
FILTER = """
import json
import orthanc

def status(dicom):
    return {statuses}.get(json.loads(dicom.GetInstanceSimplifiedJson())["Modality"], 0)

orthanc.RegisterIncomingCStoreInstanceFilter(status)
"""


def choosy_orthanc(folder: Path, statuses: dict[str, int]) -> OrthancServer:
    """It answers C-STORE by the modality."""
    folder.mkdir(parents=True)
    script = folder / "choosy.py"
    script.write_text(FILTER.format(statuses=statuses))
    overrides = {
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancPython.so"],
        "PythonScript": str(script),
        "DicomAet": "OTHER",
    }
    return OrthancServer(folder, overrides, http_port=free_port(), dicom_port=free_port())


@contextmanager
def host_beside(folder: Path, other: OrthancServer, **ours: Any) -> Iterator[Host]:
    other.http_port, other.dicom_port = other._wanted_ports
    host = sending_host(folder, other, Destinations=[{"Modality": "pacs"}], Store=STORED, **ours)
    with other.until_killed(), host.orthanc.until_killed():
        host.ready()
        yield host


def by_kind(host: Host, job_id: str) -> dict[str, dict[str, Any]]:
    return {one["Kind"]: one for one in deliveries_of(host, job_id)}


def test_an_orthanc_that_takes_no_seg_gets_the_rest_and_is_asked_once(tmp_path: Path) -> None:
    other = choosy_orthanc(tmp_path / "other", {"SEG": 0x0122})
    with host_beside(tmp_path / "host", other) as host:
        for name in ("first", "second"):
            job = host.ended_job_of(host.upload(name))
            ended = {one["Kind"]: one for one in all_ended(host, job["ID"])}
            assert {kind: one["State"] for kind, one in ended.items()} == {
                "RTSTRUCT": "Success",
                "SEG": "Failure",
                "SR": "Success",
            }
            assert ended["SEG"]["Attempts"] == 1
            assert ended["SEG"]["Reason"].startswith("it does not take SEG: ")
            assert "0x0122" in ended["SEG"]["Reason"]
            for one in [job["Content"]["Result"], *job["Content"]["Result"]["Further"]]:
                assert bool(other.lookup(one["SopInstanceUid"])) is (one["Kind"] != "SEG")
        assert host.orthanc.log().count("pacs does not take SEG") == 1
        host.orthanc.post(f"/liver/jobs/{job['ID']}/deliver")
        wait_for("all sent once more", lambda: len(deliveries_of(host, job["ID"])) == 6)


def test_a_duplicate_has_arrived_and_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    other = choosy_orthanc(tmp_path / "other", {"SEG": 0x0111, "SR": 0xA700})
    with host_beside(tmp_path / "host", other) as host:
        job = host.ended_job_of(host.upload("twice there"))
        found = wait_for(
            "what is tried again",
            lambda: (found := by_kind(host, job["ID"]))["SR"]["State"] == "Retry" and found,
            40.0,
        )
        assert {kind: one["State"] for kind, one in found.items()} == {
            "RTSTRUCT": "Success",
            "SEG": "Success",
            "SR": "Retry",
        }
        assert "0xA700" in found["SR"]["Reason"]


@pytest.fixture
def planning() -> Iterator[int]:
    """The port of a DICOM server that knows no class but RTSTRUCT."""
    entity = AE(ae_title="OTHER")
    entity.add_supported_context(RTStructureSetStorage)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)]
    )
    assert server is not None
    yield server.server_address[1]
    server.shutdown()


def test_no_presentation_context_is_told_once(tmp_path: Path, planning: int) -> None:
    host = Host(tmp_path, Destinations=[{"Modality": "planning"}], Store=STORED)
    host.orthanc.overrides = {
        **host.orthanc.overrides,
        "DicomModalities": {"planning": ["OTHER", "127.0.0.1", planning]},
    }
    with host.orthanc.until_killed():
        host.ready()
        job = host.ended_job_of(host.upload("planned"))
        [gone] = [one for one in all_ended(host, job["ID"]) if one["State"] == "Success"]
        assert gone["Kind"] == "RTSTRUCT"
        for kind in ("SEG", "SR"):
            assert by_kind(host, job["ID"])[kind]["Attempts"] == 1
            assert by_kind(host, job["ID"])[kind]["Reason"].startswith(f"it does not take {kind}: ")


def all_ended(host: Host, job_id: str) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]] | None:
        found = deliveries_of(host, job_id)
        return found if found and all(one["CompletionTime"] for one in found) else None

    return wait_for("all ends", look, 40.0)
