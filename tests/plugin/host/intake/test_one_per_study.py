"""OnePerStudy and GET /liver/filter/test in an Orthanc: which series of a study gets a job."""

from __future__ import annotations

from collections.abc import Iterator

import pydicom
import pytest

from tests.plugin.host.conftest import HOSTS, FakeHost, Host
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes


@pytest.fixture(scope="module", params=HOSTS)
def choosing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """An Orthanc that takes the best series of a study, of soft kernels only."""
    folder = tmp_path_factory.mktemp("choosing")
    host = HOSTS[request.param](
        folder, OnePerStudy=True, Filter={"ConvolutionKernel": "^B[1-4]", "Slices": {"AtMost": 9}}
    )
    with host.orthanc:
        host.ready()
        yield host


@pytest.fixture
def host(choosing: Host) -> Iterator[Host]:
    with choosing.left_as_it_was():
        yield choosing


def phases(study: str, *named: str, kernel: str = "B30f") -> list[list[pydicom.FileDataset]]:
    """Series of one study, by their descriptions."""
    found = []
    for name in named:
        series = small_ct(f"{study} {name}", description=name)
        for one in series:
            one.PatientID = one.StudyInstanceUID = study
            one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            one.ConvolutionKernel = kernel
        found.append(series)
    return found


def test_the_portal_venous_one_gets_the_job(host: Host) -> None:
    every = phases("1.2.3.4", "native", "PORTAL VENOUS", "delayed")
    # At once, so that the study is complete when it is looked at.
    native, portal, delayed = _stored_together(host, every)
    host.ended_job_of(portal)
    [sharp] = phases("1.2.3.5", "PORTAL VENOUS", kernel="B70f")
    lung = host.store(sharp)
    tried = {one["Series"]: one for one in host.orthanc.get("/liver/filter/test")}
    assert (tried[portal]["Taken"], tried[portal]["Why"]) == (True, "")
    for other in (native, delayed):
        assert host.jobs_of(other) == []
        assert tried[other]["Why"] == f"OnePerStudy: series {portal} of its study is taken instead"
    assert tried[lung]["Taken"] is False
    assert tried[lung]["Why"] == (
        "ConvolutionKernel of the series does not match the filter '^B[1-4]'"
    )
    # A person gets what he asks for; of a study, the best.
    assert host.job(host.segment(native), "Success")
    study = host.orthanc.get(f"/series/{native}")["ParentStudy"]
    asked = host.orthanc.post(f"/liver/studies/{study}/segment", {"Force": True})
    [job] = [host.job(one["ID"], "Success") for one in asked]
    assert job["Content"]["Series"] == portal


def _stored_together(host: Host, every: list[list[pydicom.FileDataset]]) -> list[str]:
    """No series is complete before all of them are there."""
    parents: list[str] = []
    for images in zip(*every, strict=True):
        stored = [host.orthanc.call("POST", "/instances", to_bytes(one)).json() for one in images]
        parents = [one["ParentSeries"] for one in stored]
    if isinstance(host, FakeHost):
        for one in parents:
            host.orthanc.settle(one)
    return parents


def test_newest_first_and_no_more_than_fifty(host: Host) -> None:
    stored = [host.upload(f"tried {n}", modality="MR") for n in range(3)]
    tried = host.orthanc.get("/liver/filter/test")
    assert [one["Series"] for one in tried[:3]] == stored[::-1]
    assert {one["Why"] for one in tried[:3]} == {"the series is not of modality CT"}
    assert len(tried) <= 50
