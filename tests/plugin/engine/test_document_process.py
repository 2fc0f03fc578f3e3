"""The document process as the host speaks to it, without Orthanc."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO

import pydicom
import pytest

from orthanc_liver import __version__
from orthanc_liver.engine.protocol import (
    AboutAJob,
    Compared,
    ComparisonOrder,
    Cut,
    DocumentOrder,
    Done,
    Instance,
    JobSettings,
    Kind,
    OtherOutline,
    Outcome,
    PartsOrder,
    ResultObject,
)
from orthanc_liver.host.jobs.engine_process import EngineProcess
from tests.plugin.test_pipeline import segmented
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.threshold_engine import SPEC, with_liver

# Each starts a process that imports for a second and more.
pytestmark = pytest.mark.network


@pytest.fixture
def process() -> Iterator[EngineProcess]:
    one = EngineProcess([sys.executable, "-m", "orthanc_liver.engine.document_process"])
    yield one
    one.close()


def answers(
    process: EngineProcess,
    rtstruct: bytes,
    minimum_slices: int,
    unsure: bool = False,
    grade: str = "",
    told: tuple[str, ...] = (),
    look_at: tuple[tuple[int, ...], ...] = (),
) -> list[AboutAJob]:
    ct = [to_bytes(one) for one in write_ct_series(with_liver(unsure=unsure))]
    settings = JobSettings(minimum_slices, roi_name="Leber", kinds=(Kind.SR, Kind.SC, Kind.PDF))
    made_by = (__version__, SPEC.name, SPEC.sha256)
    of_report = (grade, told, look_at)
    process.send(DocumentOrder("j", len(ct), settings, *made_by, *of_report, None, "", rtstruct))
    for one in ct:
        process.send(Instance("j", one))
    messages = [process.receive()]
    while not isinstance(messages[-1], Done):
        messages.append(process.receive())
    return messages


@pytest.mark.parametrize("unsure", [False, True])
def test_what_is_written_later_is_what_the_job_wrote(process: EngineProcess, unsure: bool) -> None:
    job = segmented(*Kind, unsure=unsure, look_here=unsure)
    by_the_job, told = job.objects, tuple(job.report["warnings"])
    rtstruct, grade = by_the_job[Kind.RTSTRUCT][0], job.report["grade"]
    look_at = tuple(tuple(one["slices"]) for one in job.report["look_at"])
    *written, done = answers(process, rtstruct, 10, unsure, grade, told, look_at)
    assert isinstance(done, Done)
    assert (done.outcome, done.reason) == (Outcome.SEGMENTED, "")
    expected = [(kind, one) for kind in list(Kind)[1:] for one in by_the_job[kind]]
    assert len(expected) > 20
    for one, (kind, content) in zip(written, expected, strict=True):
        assert isinstance(one, ResultObject)
        assert one.kind is kind
        uids = [pydicom.dcmread(BytesIO(c)).SOPInstanceUID for c in (one.content, content)]
        assert uids[0] == uids[1]


def test_a_series_that_is_refused_says_why(process: EngineProcess) -> None:
    [done] = answers(process, b"not looked at", minimum_slices=900)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.REFUSED
    assert "24 slices" in done.reason


@pytest.mark.parametrize(
    ("plane", "outcome", "told"),
    [
        ((88.0, 66.0, 60.0, 100.0, 96.0, 60.0, 96.0, 66.0, 90.0), Outcome.SEGMENTED, ""),
        ((88.0, 66.0, 60.0, 100.0, 96.0, 60.0, 900.0, 66.0, 90.0), Outcome.REFUSED, "outside"),
    ],
)
def test_a_liver_is_cut_or_it_is_said_why_not(
    process: EngineProcess, plane: tuple[float, ...], outcome: Outcome, told: str
) -> None:
    by_the_job = segmented(Kind.RTSTRUCT).objects[Kind.RTSTRUCT][0]
    ct = [to_bytes(one) for one in write_ct_series(with_liver())]
    made_by = (__version__, SPEC.name, SPEC.sha256)
    process.send(
        PartsOrder(
            "j",
            len(ct),
            JobSettings(10),
            *made_by,
            Cut(plane),
            "=M\u00fcller\\A^^^^^^x",
            by_the_job,
        )
    )
    for one in ct:
        process.send(Instance("j", one))
    *written, done = [process.receive()] if told else [process.receive(), process.receive()]
    assert isinstance(done, Done)
    assert (done.outcome, told in done.reason) == (outcome, True)
    for message in written:
        assert isinstance(message, ResultObject)
        parts = pydicom.dcmread(BytesIO(message.content))
        assert [roi.ROIName for roi in parts.StructureSetROISequence] == list(
            (done.report or {})["parts_ml"]
        )
        assert parts.OperatorsName == "/M\u00fcller/A//////x"
        assert parts.SeriesDescription.startswith("Parts of Liver auto")


def test_an_outline_that_came_back_is_compared_with_the_jobs(process: EngineProcess) -> None:
    by_the_job = segmented(Kind.RTSTRUCT).objects[Kind.RTSTRUCT][0]
    theirs = pydicom.dcmread(BytesIO(by_the_job))
    theirs.StructureSetROISequence[0].ROIName = "liver"
    contours = theirs.ROIContourSequence[0].ContourSequence
    theirs.ROIContourSequence[0].ContourSequence = contours[: len(contours) // 2]
    ct = [to_bytes(one) for one in write_ct_series(with_liver())]
    process.send(ComparisonOrder("j", len(ct), JobSettings(10), "liver", by_the_job))
    process.send(OtherOutline("j", to_bytes(theirs)))
    for one in ct:
        process.send(Instance("j", one))
    compared, done = process.receive(), process.receive()
    assert isinstance(compared, Compared)
    assert isinstance(done, Done)
    assert (done.outcome, done.reason) == (Outcome.SEGMENTED, "")
    found = compared.agreement
    assert found.theirs_ml < found.ours_ml
    assert found.dsc == pytest.approx(2 * found.theirs_ml / (found.ours_ml + found.theirs_ml))
    assert found.rv == pytest.approx(found.ours_ml / found.theirs_ml)
    assert found.mda_mm is not None
    assert found.mda_mm > 1
    assert found.worst_ml > 0
