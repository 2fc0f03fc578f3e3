"""The whole product: a CT over C-STORE into a real Orthanc, its liver back over DICOMweb."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.support.judges import dciodvfy_errors
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import wait_for
from tests.support.real_data import real_ct

CHECKOUT = Path(__file__).resolve().parents[1]


def run_demo(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.demo", *arguments]
    shown = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return dict(json.loads(shown.stdout.splitlines()[-1]))


def test_the_demo_finds_the_phantoms_liver(tmp_path: Path) -> None:
    summary = run_demo("--out", str(tmp_path / "demo"))
    assert summary["dsc"] > 0.75  # a check that nothing is swapped; accuracy is for patients
    rtstruct = tmp_path / "demo" / "rtstruct.dcm"
    assert pydicom.dcmread(rtstruct).SOPInstanceUID == summary["rtstruct"]
    assert dciodvfy_errors(rtstruct) == []
    assert (tmp_path / "demo" / "overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with OrthancServer(tmp_path_factory.mktemp("orthanc"), {"StableAge": 1}) as running:
        yield running


def test_a_real_patient_ends_beside_the_ct(server: OrthancServer) -> None:
    folder = real_ct("dicom", "cptac_c3l_00189")
    instances = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    server.send(instances)

    def finished() -> dict[str, Any] | None:
        jobs = server.get("/liver/jobs?expand")
        return jobs[0] if jobs and jobs[0]["State"] in ("Success", "Failure") else None

    job = wait_for("the job", finished, 60)
    assert job["Content"]["Outcome"] == "segmented", job
    assert 1000 < job["Content"]["Report"]["liver_ml"] < 2500
    study = f"/dicom-web/studies/{instances[0].StudyInstanceUID}"
    (found,) = server.get(f"{study}/instances?Modality=RTSTRUCT&includefield=all")
    assert found["00080018"]["Value"] == [job["Content"]["Result"]["SopInstanceUid"]]
    study_id = server.get(f"/series/{job['Content']['Series']}")["ParentStudy"]
    assert len(server.get("/studies")) == 1
    assert len(server.get(f"/studies/{study_id}")["Series"]) == 2
    frame = server.get(f"/instances/{job['Content']['Result']['Instance']}/simplified-tags")
    (referenced,) = frame["ReferencedFrameOfReferenceSequence"]
    assert referenced["FrameOfReferenceUID"] == instances[0].FrameOfReferenceUID
