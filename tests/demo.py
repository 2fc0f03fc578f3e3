"""make demo: a CT goes into a fresh Orthanc over C-STORE, its liver comes back over DICOMweb."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from liver_unet.nifti import read_nifti
from liver_unet.volume import Volume
from tests.support.ct_writer import write_ct_series
from tests.support.judges import even_odd_mask
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import wait_for
from tests.support.phantom import abdomen

_TIMEOUT_S = 1800.0


@dataclass(frozen=True, eq=False)
class Patient:
    """A CT series to send and, for the phantom, where its liver is, slice by slice."""

    instances: list[pydicom.FileDataset]
    liver: NDArray[np.bool_] | None


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--ct", type=Path, help="your own CT: a DICOM folder or a NIfTI file")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="what is there goes away")
    options = parser.parse_args()
    patient = _patient(options.ct)
    _empty(options.out)
    with tempfile.TemporaryDirectory(prefix="orthanc-liver-demo-") as folder:
        overrides = {"StableAge": 2, "LiverSegmentation": {"MinimumSlices": 10}}
        with OrthancServer(Path(folder), overrides) as server:
            summary = _segment(server, patient, options.out)
    print(json.dumps(summary))


def _empty(out: Path) -> None:
    try:
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
    except OSError as error:
        sys.exit(f"make demo: {out}/ cannot be emptied ({error.strerror}): remove it first")


def _patient(path: Path | None) -> Patient:
    if path is None:
        _say("drawing a phantom patient (name your own CT with CT=PATH)")
        phantom = abdomen()
        return Patient(write_ct_series(phantom.volume), phantom.liver)
    if path.is_dir():
        return Patient(_dicom_series(path), None)
    if not path.exists():
        sys.exit(f"make demo: {path} does not exist")
    _say(f"writing {path} as a CT series")
    hu, grid = read_nifti(path)
    return Patient(write_ct_series(Volume(hu, grid), patient_name="NIfTI^Demo"), None)


def _dicom_series(folder: Path) -> list[pydicom.FileDataset]:
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            found.append(pydicom.dcmread(path))
        except InvalidDicomError:
            _say(f"left aside, not DICOM: {path}")
    series = {dataset.SeriesInstanceUID for dataset in found}
    if len(series) != 1:
        sys.exit(f"make demo: {folder} holds {len(series)} series; name the folder of one")
    return found


def _segment(server: OrthancServer, patient: Patient, out: Path) -> dict[str, Any]:
    _say(f"Orthanc answers at {server.url}; sending {len(patient.instances)} instances by C-STORE")
    server.send(patient.instances)
    sent = time.monotonic()
    job = _finished_job(server)
    elapsed_s = time.monotonic() - sent
    if job["State"] != "Success" or job["Content"]["Outcome"] != "segmented":
        sys.exit(f"make demo: {job['Content']['Outcome']}: {job['Content']['Reason']}")
    rtstruct = _fetch_rtstruct(server, patient.instances[0].StudyInstanceUID)
    (out / "rtstruct.dcm").write_bytes(rtstruct)
    picture = server.call("GET", f"/liver/series/{job['Content']['Series']}/preview")
    (out / "overlay.png").write_bytes(picture.content)
    _say(f"left in {out}/: rtstruct.dcm, overlay.png")
    dataset = pydicom.dcmread(BytesIO(rtstruct))
    summary = {
        "series": patient.instances[0].SeriesInstanceUID,
        "rtstruct": str(dataset.SOPInstanceUID),
        "liver_ml": job["Content"]["Report"]["liver_ml"],
        "seconds": round(elapsed_s, 1),
    }
    if patient.liver is not None:
        found = even_odd_mask(dataset, patient.instances)
        dsc = 2 * (found & patient.liver).sum() / (found.sum() + patient.liver.sum())
        summary["dsc"] = round(float(dsc), 4)
    return summary


def _finished_job(server: OrthancServer) -> dict[str, Any]:
    last = ""

    def look() -> dict[str, Any] | None:
        nonlocal last
        jobs = server.get("/liver/jobs?expand")
        content = jobs[-1]["Content"] if jobs else {}
        now = f"{jobs[-1]['State']} {content['Stage']}".strip() if jobs else "waiting until stable"
        if now != last:
            _say(now)
            last = now
        return jobs[-1] if jobs and jobs[-1]["State"] in ("Success", "Failure") else None

    return wait_for("the job", look, _TIMEOUT_S)


def _fetch_rtstruct(server: OrthancServer, study_uid: str) -> bytes:
    """Find it with QIDO-RS and fetch it with WADO-RS, as a planning system would."""
    study = f"/dicom-web/studies/{study_uid}"
    (found,) = server.get(f"{study}/instances?Modality=RTSTRUCT")
    series_uid, sop_uid = found["0020000E"]["Value"][0], found["00080018"]["Value"][0]
    answer = server.call("GET", f"{study}/series/{series_uid}/instances/{sop_uid}")
    answer.raise_for_status()
    # One part of a multipart body: blank line, the file, the closing boundary.
    boundary = answer.headers["Content-Type"].split("boundary=")[1].split(";")[0].strip('"')
    part = answer.content.split(b"--" + boundary.encode())[1]
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
