"""Pictures and pages of a result on their way from one real Orthanc to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Kind
from tests.plugin.host.conftest import Host
from tests.plugin.host.delivery.test_destinations import deliveries_of, sending_host
from tests.plugin.host.delivery.test_some_classes_only import choosy_orthanc
from tests.support.patience import wait_for

PICTURES = 3
PDF, ALL_AT_ONCE = ("PDF", 1, "Success"), ("SC", PICTURES, "Success")


@pytest.mark.parametrize(
    ("statuses", "endings"),
    [
        ({}, [[PDF, ALL_AT_ONCE]]),
        # Orthanc 1.10 calls a duplicate a failure, 1.12.7 a success.
        ({"OT": 0x0111}, [[PDF, *[("SC", 1, "Success")] * PICTURES], [PDF, ALL_AT_ONCE]]),
        ({"OT": 0x0122}, [[PDF, ("SC", PICTURES, "Failure")]]),
    ],
)
def test_the_kinds_that_a_destination_wants_arrive(
    tmp_path: Path, statuses: dict[str, int], endings: list[list[tuple[str, int, str]]]
) -> None:
    other = choosy_orthanc(tmp_path / "other", statuses)
    other.http_port, other.dicom_port = other._wanted_ports
    wanted = [{"Modality": "pacs", "Objects": ["SC", "PDF"]}]
    host = sending_host(tmp_path / "host", other, Destinations=wanted, Store=list(Kind))
    with other.until_killed(), host.orthanc.until_killed():
        host.ready()
        job = host.ended_job_of(host.upload("for a PACS that shows no outlines"))
        found = wait_for("all end", lambda: all_ended(host, job["ID"]), 40.0)
        told = sorted((one["Kind"], len(one["Instances"]), one["State"]) for one in found)
        assert told in endings
        assert {one["Attempts"] for one in found if one["State"] == "Failure"} <= {1}
        for one in [job["Content"]["Result"], *job["Content"]["Result"]["Further"]]:
            is_wanted = one["Kind"] == "PDF" or (one["Kind"] == "SC" and not statuses)
            assert bool(other.lookup(one["SopInstanceUid"])) is is_wanted


def all_ended(host: Host, job_id: str) -> list[dict[str, Any]] | None:
    found = deliveries_of(host, job_id)
    return found if len(found) > 1 and all(one["CompletionTime"] for one in found) else None
