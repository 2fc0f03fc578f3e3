"""A CT whose scripted outline is known pixel by pixel, and what a physician draws on it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from liver_unet.volume import Grid, Volume
from orthanc_liver.engine.protocol import Agreement
from orthanc_liver.host.quality.comparison import Comparison, Returned
from tests.plugin.host.conftest import Host
from tests.plugin.host.review.test_outlines import drawn_on, store
from tests.support.ct_writer import write_ct_series
from tests.support.fake_orthanc import FakeServer
from tests.support.patience import wait_for

SLICES, ROWS, COLUMNS = 12, 44, 60
VOXEL_ML = 0.125
# The scripted engine outlines 1500 mL as the same square on every slice, from the first pixel on.
OURS_ML = 32 * 32 * SLICES * VOXEL_ML
JOB = "5a3c0f0e-0000-4000-8000-00000000000d"
# (row, column) of two corners, between pixels; on every slice but the last.
BOX = ((2.5, 4.5), (25.5, 29.5))
BOX_ML = 23 * 25 * (SLICES - 1) * VOXEL_ML
BOX_DSC = 2 * BOX_ML / (BOX_ML + OURS_ML)


def ct(uid_seed: str) -> list[pydicom.FileDataset]:
    affine = np.array([[0, 0, 5, -90], [0, 5, 0, -70], [5, 0, 0, 15], [0, 0, 0, 1]], float)
    shape = (SLICES, ROWS, COLUMNS)
    slice_hu = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS) % 397 - 150
    # Two patients are not the same to the last pixel: a training refuses one CT under two names.
    slice_hu[-1] = np.roll(slice_hu[-1], zlib.crc32(uid_seed.encode()) % COLUMNS)
    hu = slice_hu + np.arange(SLICES, dtype=np.float32)[:, None, None]
    series = write_ct_series(Volume(hu, Grid(shape, affine)), uid_seed=uid_seed)
    for dataset in series:
        dataset.PatientID = uid_seed[-64:]
        dataset.PatientName = "Secret^Patient"
    return series


def liver(
    series: Sequence[pydicom.Dataset],
    box: tuple[tuple[float, float], tuple[float, float]] = BOX,
    **roi: Any,
) -> pydicom.Dataset:
    """A physician's RTSTRUCT; roi: other attributes of its ROI than the usual ones."""
    (top, left), (bottom, right) = box
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    upwards = sorted(series, key=lambda one: float(one.ImagePositionPatient[2]))
    drawn = drawn_on(series, [(one, corners, 0.0) for one in upwards[:-1]])
    drawn.Manufacturer, drawn.ApprovalStatus = "Planner", "UNAPPROVED"
    described = {"ROIName": "Liver", "ROIGenerationAlgorithm": "MANUAL"} | roi
    for keyword, value in described.items():
        setattr(drawn.StructureSetROISequence[0], keyword, value)
    frame, study, referenced = (pydicom.Dataset() for _ in range(3))
    referenced.SeriesInstanceUID = series[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [referenced], [study]
    frame.FrameOfReferenceUID = series[0].FrameOfReferenceUID
    drawn.ReferencedFrameOfReferenceSequence = [frame]
    drawn.SOPInstanceUID = drawn.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return drawn


def settle(host: Host, instance: str) -> None:
    """A fake Orthanc is told when nothing more arrives; a real one finds out."""
    if isinstance(host.orthanc, FakeServer):
        host.orthanc.settle(host.orthanc.get(f"/instances/{instance}")["ParentSeries"])


def returned(host: Host, dataset: pydicom.Dataset) -> str:
    """Store it; returns Orthanc's id."""
    instance = store(host, dataset)
    settle(host, instance)
    return instance


def segmented(host: Host, uid_seed: str) -> tuple[list[pydicom.FileDataset], str]:
    """A CT that was segmented, and Orthanc's id of its series. Comparisons are scripted."""
    series = ct(uid_seed)
    series_id = host.store(series)
    host.ended_job_of(series_id)
    looked_at(host)
    return series, series_id


def looked_at(host: Host) -> None:
    """Wait until nothing is left to be compared."""

    def look() -> bool:
        return not host.orthanc.get("/liver/status")["ReturnedOutlines"]["Awaiting"]

    wait_for("all comparisons", look)


def comparisons(host: Host, series_id: str) -> list[dict[str, Any]]:
    """As the review page is told, the newest first."""
    found: list[dict[str, Any]] = host.orthanc.get(f"/liver/series/{series_id}/slices")[
        "Comparisons"
    ]
    return found


def compared(host: Host, series_id: str, instance: str) -> dict[str, Any]:
    """The comparison of an outline as soon as it is there."""

    def look() -> dict[str, Any] | None:
        found = comparisons(host, series_id)
        return next((one for one in found if one["Instance"] == instance), None)

    return wait_for(f"the comparison of {instance}", look)


def restarted_with_cases(host: Host, dsc: Sequence[float]) -> list[str]:
    """Let Orthanc hold CT whose outlines came back earlier, and start anew; returns their ids.

    One comparison must have been made before.
    """
    at = datetime(2026, 1, 1, tzinfo=UTC)
    cases = []
    for n, one in enumerate(dsc):
        series_id = host.upload(f"case {n} of the chart", slices=1)
        agreement = Agreement(one, 1.5, 1.02, 1.02, 1530.0, 1500.0, 31, 12.5)
        outline = Returned(series_id, f"1.2.{n}", "0" * 32, "RTSTRUCT", "Liver")
        about = (series_id, series_id, JOB, series_id, "scripted", "a" * 64, "sure", outline)
        case = Comparison(*about, at + timedelta(hours=n), agreement)
        note = {"Version": 1, "Comparisons": [case.as_json()]}
        path = f"/series/{series_id}/metadata/4507"
        host.orthanc.call("PUT", path, json.dumps(note).encode())
        cases.append(series_id)
    host.orthanc.stop()
    kept = json.dumps({"Version": 1, "Series": cases, "Awaiting": [], "Limits": []})
    if isinstance(host.orthanc, FakeServer):
        host.orthanc.archive.properties[4506] = kept
    else:
        host.orthanc.set_property(4506, kept)
    host.orthanc.start()
    host.ready()
    return cases
