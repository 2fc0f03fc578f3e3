"""Proof of arrival by storage commitment, between two real Orthancs and from a DICOM server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.plugin.host.conftest import Host
from tests.plugin.host.delivery.test_some_classes_only import all_ended, by_kind, planning
from tests.support.orthanc_server import OrthancServer, free_port
from tests.support.patience import wait_for

__all__ = ["planning"]

# It answers every C-STORE with success, and loses each SEG as long as a file is there.
LOSING = """
import json
import pathlib
import orthanc

def received(content, origin):
    simple = json.loads(orthanc.DicomBufferToJson(content, 3, 0, 256))
    if simple["Modality"] == "SEG" and pathlib.Path({flag!r}).exists():
        return orthanc.ReceivedInstanceAction.DISCARD, None
    return orthanc.ReceivedInstanceAction.KEEP_AS_IS, None

orthanc.RegisterReceivedInstanceCallback(received)
"""


def committing_host(folder: Path, port: int, **ours: Any) -> Host:
    destinations = [{"Modality": "pacs", "Commitment": True}]
    host = Host(folder, Destinations=destinations, Store=["RTSTRUCT", "SEG"], **ours)
    host.orthanc._wanted_ports = (free_port(), free_port())
    modalities = {"pacs": ["OTHER", "127.0.0.1", port]}
    host.orthanc.overrides = {**host.orthanc.overrides, "DicomModalities": modalities}
    return host


def test_what_another_orthanc_lost_is_sent_again_until_it_has_it(tmp_path: Path) -> None:
    flag, script = tmp_path / "loses", tmp_path / "losing.py"
    flag.touch()
    script.write_text(LOSING.format(flag=str(flag)))
    ports = (free_port(), free_port())
    host = committing_host(tmp_path / "host", ports[1])
    back = {"host": ["ORTHANC", "127.0.0.1", host.orthanc._wanted_ports[1]]}
    overrides = {
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancPython.so"],
        "PythonScript": str(script),
        "DicomAet": "OTHER",
        "DicomModalities": back,
    }
    other = OrthancServer(tmp_path / "other", overrides, http_port=ports[0], dicom_port=ports[1])
    with other.until_killed(), host.orthanc.until_killed():
        host.ready()
        job = host.ended_job_of(host.upload("lost at first"))

        def seg() -> dict[str, Any]:
            return by_kind(host, job["ID"])["SEG"]

        wait_for("the loss", lambda: seg()["Reason"].startswith("storage not committed: "), 60.0)
        assert seg()["Arrival"] == ""
        [further] = job["Content"]["Result"]["Further"]
        assert other.lookup(further["SopInstanceUid"]) == []
        flag.unlink()
        host.orthanc.post(f"/liver/jobs/{job['ID']}/deliver")
        proved = wait_for("proof", lambda: (s := seg())["Arrival"] == "committed" and s, 60.0)
        assert proved["State"] == "Success"
        assert proved["Attempts"] > 1
        assert other.lookup(further["SopInstanceUid"])
        wait_for(
            "proof of the RTSTRUCT",
            lambda: by_kind(host, job["ID"])["RTSTRUCT"]["Arrival"] == "committed",
            60.0,
        )
        figures = host.orthanc.call("GET", "/liver/metrics").text
        assert 'liver_arrivals{arrival="committed"} ' in figures


def test_who_offers_none_is_sent_to_all_the_same(tmp_path: Path, planning: int) -> None:
    host = committing_host(tmp_path, planning)
    with host.orthanc.until_killed():
        host.ready()
        job = host.ended_job_of(host.upload("sent without proof"))
        ended = {one["Kind"]: one for one in all_ended(host, job["ID"])}
    rtstruct, seg = ended["RTSTRUCT"], ended["SEG"]
    assert (rtstruct["State"], rtstruct["Arrival"]) == ("Success", "sent")
    assert rtstruct["Reason"] == "the destination offers no storage commitment"
    assert (seg["State"], seg["Arrival"]) == ("Failure", "refused")
