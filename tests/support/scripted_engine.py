"""An inference process without a network, which does what a test tells it to.

A test writes the script, a small JSON file, through ScriptedEngine; the process reads it anew for
each job and notes each start and each job in files beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pydicom.valuerep import format_number_as_ds

from orthanc_liver.engine.child_process import end_with_the_other_side
from orthanc_liver.engine.protocol import (
    LEFT_LOBE,
    LOOK_HERE,
    MODALITIES,
    NOT_PERFUSED,
    RIGHT_LOBE,
    Agreement,
    Compared,
    ComparisonOrder,
    Done,
    Failed,
    Kind,
    Order,
    OtherOutline,
    Outcome,
    PartsOrder,
    PipeClosed,
    Preview,
    Progress,
    Ready,
    ResultObject,
    Unsure,
    read,
    read_instances,
    write,
)

Ending = Literal[
    "segmented",
    "no liver found",
    "refused",
    "failed",
    "crash",
    "hang",
    "hang before reading",
    "hang before reading, beside an orphan",
    "wrong study",
    "endless line on standard error",
    # What ends in a message, or not, that the other side must not believe.
    "rubbish",
    "deeply nested",
    "4 GiB",
    "without end",
    "wrong types",
    "another job",
    "orphan holds the pipes",
    "orphan in a session of its own",
]


_SOP_CLASSES = {
    Kind.RTSTRUCT: RTStructureSetStorage,
    Kind.SEG: SegmentationStorage,
    Kind.SR: ComprehensiveSRStorage,
    Kind.SC: SecondaryCaptureImageStorage,
    Kind.PDF: EncapsulatedPDFStorage,
}
_PICTURES = 3


_DOCUMENTS = "orthanc_liver.engine.document_process"
# Hundreds are started, and none looks at pixels or into the network: without what pydicom imports
# for that, where it is there, each starts in half the time.
_START = """import runpy, sys
del sys.argv[0]
sys.modules.update(dict.fromkeys(("PIL", "numpy", "requests", "ssl", "tqdm")))
runpy.run_path(sys.argv[0], run_name="__main__")"""


@dataclass(frozen=True)
class Script:
    """How every job goes from now on; after `times` jobs, as if there were no script.

    dsc: of every outline that comes back; 0: it is refused, less: the process ends.
    until: a file; the result is not sent before it is there.
    real_documents: what writes and compares documents is the product's own process.
    """

    ending: Ending = "segmented"
    seconds: float = 0.0
    times: int = 1_000_000
    first_job: int = 0
    model_sha256: str = "a" * 64
    grade: str = ""
    lungs: Mapping[str, float | str] | None = None
    look_at: Sequence[Sequence[int]] = ()
    unsure: Mapping[str, Sequence[Sequence[int]]] | None = None
    is_last: bool = False
    start: Literal["ready", "failed", "crash", "hang", "wrong types"] = "ready"
    dsc: float = 0.9
    real_documents: bool = False
    until: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """What a report holds beside what all of them hold; look_at: pairs of slices."""
        lungs = {"lungs": dict(self.lungs)} if self.lungs else {}
        if not self.grade:
            return lungs
        look_at = [{"slices": list(slices), "ml": 10.0} for slices in self.look_at]
        return {"grade": self.grade, "look_at": look_at, **lungs}


class ScriptedEngine:
    """The test's side: writes scripts and reads what the process noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.interpreter = folder / "python"
        self.interpreter.write_text(
            f"#!/bin/sh\nexec '{sys.executable}' -P -c '{_START}' '{__file__}' '{folder}' \"$@\"\n"
        )
        self.interpreter.chmod(0o755)
        self.behave()

    def behave(self, ending: Ending = "segmented", **script: Any) -> None:
        """Let every job that starts from now on go as the script says."""
        new = Script(ending, first_job=len(self.jobs()), **script)
        (self._folder / "script.tmp").write_text(json.dumps(asdict(new)))
        (self._folder / "script.tmp").rename(self._folder / "script.json")

    def jobs(self) -> list[dict[str, Any]]:
        """Every job that came, with its number of instances, settings and process."""
        return _notes(self._folder / "jobs.txt")

    def answers(self) -> list[dict[str, Any]]:
        """Every job whose result was sent."""
        return _notes(self._folder / "answers.txt")

    def starts(self) -> list[dict[str, Any]]:
        """Every process that was started, with its arguments."""
        return _notes(self._folder / "starts.txt")

    def comparisons(self) -> list[dict[str, Any]]:
        """Every comparison that was begun, and what the liver was called."""
        return _notes(self._folder / "comparisons.txt")

    @property
    def is_quick(self) -> bool:
        """Whether a job that begins now soon ends by itself."""
        script = _script(self._folder)
        return script.ending in tuple(Outcome) and not script.seconds and not script.until

    def alive(self) -> list[int]:
        """The processes that still run."""
        return [start["pid"] for start in self.starts() if _runs(start["pid"])]

    def orphans(self) -> list[int]:
        """The processes that an inference process started and left, as far as they still run."""
        pids = [note["pid"] for note in _notes(self._folder / "orphans.txt")]
        return [pid for pid in pids if _runs(pid)]

    def end_orphans(self) -> int:
        """End them, which nobody else can; returns how many there were."""
        orphans = self.orphans()
        for orphan in orphans:
            os.kill(orphan, 9)
        return len(orphans)


def main(folder: Path, arguments: list[str]) -> None:
    """The process's side."""
    end_with_the_other_side(0)
    script = _script(folder)
    if _DOCUMENTS in arguments:
        if script.real_documents:
            os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
        _answer_document_order(folder, script)
        return
    _note(folder / "starts.txt", {"pid": os.getpid(), "arguments": arguments})
    outgoing, incoming = sys.stdout.buffer, sys.stdin.buffer
    if script.start == "crash":
        sys.exit("the scripted engine does not start")
    if script.start == "hang":
        time.sleep(3600)
    if script.start == "failed":
        write(outgoing, Failed("the scripted engine has no weights"))
        return
    sha256 = _sha256(script, arguments)
    ready = Ready("0", "scripted", sha256, "cpu")
    if script.start == "wrong types":
        write(outgoing, replace(ready, model_sha256=cast(str, [7])))
    write(outgoing, ready)
    while True:
        try:
            order = read(incoming)
        except PipeClosed:
            return
        assert isinstance(order, Order)
        _work(folder, order, incoming, outgoing, _sha256(_script(folder), arguments))


def _sha256(script: Script, arguments: list[str]) -> str:
    """That of the script, unless the process was told of a folder of weights."""
    if "--weights" not in arguments:
        return script.model_sha256
    folder = Path(arguments[arguments.index("--weights") + 1])
    return str(json.loads((folder / "liver.json").read_text())["sha256"])


def _answer_document_order(folder: Path, script: Script) -> None:
    order = read(sys.stdin.buffer)
    if isinstance(order, PartsOrder):
        _cut(order)
        return
    assert isinstance(order, ComparisonOrder)
    assert isinstance(read(sys.stdin.buffer), OtherOutline)
    drawn = pydicom.dcmread(BytesIO(order.rtstruct))
    note = {"pid": os.getpid(), "roi": order.roi, "ours": drawn.SOPInstanceUID}
    _note(folder / "comparisons.txt", note)
    assert list(read_instances(sys.stdin.buffer, order))
    if script.dsc < 0:
        os.kill(os.getpid(), 9)
    if script.dsc:
        figures = (script.dsc, 1.5, 1.02, 1.02, 1500.0, 1470.0, 3, 12.5)
        write(sys.stdout.buffer, Compared(order.job, Agreement(*figures)))
    outcome = Outcome.SEGMENTED if script.dsc else Outcome.REFUSED
    reason = "" if script.dsc else "the returned outline was told so"
    write(sys.stdout.buffer, Done(order.job, outcome, reason, None))


def _cut(order: PartsOrder) -> None:
    """Two parts that both look like the liver; a plane through the origin alone is refused."""
    instances = list(read_instances(sys.stdin.buffer, order))
    if order.cut.plane and not any(order.cut.plane):
        write(sys.stdout.buffer, Done(order.job, Outcome.REFUSED, "the cut was told so", None))
        return
    named = [RIGHT_LOBE, LEFT_LOBE] if order.cut.plane else ["Perfused 1", NOT_PERFUSED]
    source = pydicom.dcmread(BytesIO(order.rtstruct)).SOPInstanceUID
    of = f"{source} {order.cut} {order.by}"
    written = pydicom.dcmread(BytesIO(result(Kind.RTSTRUCT, instances, of, is_wrong=False)))
    _outline_once_more(written)
    for roi, name in zip(written.StructureSetROISequence, named, strict=True):
        roi.ROIName, roi.ROIGenerationAlgorithm = name, "SEMIAUTOMATIC"
    written.OperatorsName = order.by
    buffer = BytesIO()
    written.save_as(buffer, enforce_file_format=True)
    write(sys.stdout.buffer, ResultObject(order.job, Kind.RTSTRUCT, buffer.getvalue()))
    parts_ml = dict(zip(named, (900.0, 600.0), strict=True))
    write(sys.stdout.buffer, Done(order.job, Outcome.SEGMENTED, "", {"parts_ml": parts_ml}))


def _work(folder: Path, order: Order, incoming: BinaryIO, outgoing: BinaryIO, sha256: str) -> None:
    script = _script(folder)
    settings = asdict(order.settings)
    note = {"pid": os.getpid(), "instances": order.instances, "settings": settings}
    _note(folder / "jobs.txt", note)
    number = len(_notes(folder / "jobs.txt")) - 1
    if not script.first_job <= number < script.first_job + script.times:
        script = Script()
    if script.ending.startswith("hang before reading"):
        if "orphan" in script.ending:
            _leave_an_orphan(folder, in_session_of_its_own=True)
        time.sleep(3600)
    instances = list(read_instances(incoming, order))
    _take_time(script, order, outgoing)
    match script.ending:
        case "crash":
            print("pydicom says Name^Secret", file=sys.stderr)  # noqa: T201 as a library would
            os.kill(os.getpid(), 9)
        case "segmented" | "wrong study":
            told = replace(script, model_sha256=sha256)
            _send_objects(told, order, instances, outgoing)
            write(outgoing, Preview(order.job, tiny_png()))
            _tell_doubt(script, order, outgoing)
        case "no liver found" | "refused" | "failed":
            pass
        case _:
            _send_what_is_no_answer(script.ending, folder, order, outgoing)
            time.sleep(3600)  # a hang
    outcome = Outcome("segmented" if script.ending == "wrong study" else script.ending)
    reason = "the scripted engine was told so" if outcome in ("refused", "failed") else ""
    report = {"outcome": outcome, "liver_ml": 1500.0, "warnings": ["a scripted warning"]}
    report |= script.told
    if outcome is Outcome.NO_LIVER:
        report |= {"liver_ml": None, "no_liver": {"reason": "all is as dark as fat", "seen_ml": 7}}
    write(outgoing, Done(order.job, outcome, reason, report, script.is_last))
    _note(folder / "answers.txt", {"pid": os.getpid()})


def _take_time(script: Script, order: Order, outgoing: BinaryIO) -> None:
    for step in range(10):
        write(outgoing, Progress(order.job, "infer", step / 10))
        time.sleep(script.seconds / 10)
    while script.until and not Path(script.until).exists():
        time.sleep(0.02)


def _send_objects(script: Script, order: Order, instances: list[bytes], outgoing: BinaryIO) -> None:
    for kind in order.settings.kinds:
        is_wrong = script.ending == "wrong study" and kind is order.settings.kinds[-1]
        here = order.settings.look_here
        content = result(kind, instances, script.model_sha256, is_wrong, look_here=here)
        for one in _copies(content, _PICTURES if kind is Kind.SC else 1):
            write(outgoing, ResultObject(order.job, kind, one))


def _tell_doubt(script: Script, order: Order, outgoing: BinaryIO) -> None:
    if script.unsure:
        told = {"Job": order.job, "PartsOfPixel": 100, "Slices": script.unsure}
        write(outgoing, Unsure(order.job, json.dumps(told).encode()))


def _send_what_is_no_answer(ending: Ending, folder: Path, order: Order, outgoing: BinaryIO) -> None:
    head = json.dumps({"type": "ResultObject", "job": order.job, "kind": "RTSTRUCT"}).encode()
    outgoing.write(
        {
            "rubbish": b"this is no message" * 10,
            "deeply nested": struct.pack(">IQ", 200_000, 0) + b"[" * 200_000,
            "4 GiB": struct.pack(">IQ", len(head), 4 * 1024**3) + head,
        }.get(ending, b"")
    )
    outgoing.flush()
    match ending:
        case "endless line on standard error":
            for _ in range(1000):
                os.write(2, b"x" * 65536)
            os.kill(os.getpid(), 9)
        case "without end":
            while True:
                write(outgoing, ResultObject(order.job, Kind.RTSTRUCT, bytes(8 * 1024**2)))
        case "wrong types":
            write(outgoing, Progress(order.job, "infer", cast(float, "much")))
        case "another job":
            write(outgoing, Done("another", Outcome.NO_LIVER, "", None))
        case "orphan holds the pipes" | "orphan in a session of its own":
            _leave_an_orphan(folder, in_session_of_its_own="session" in ending)
            os.kill(os.getpid(), 9)


def _leave_an_orphan(folder: Path, *, in_session_of_its_own: bool) -> None:
    """It holds all three pipes."""
    orphan = subprocess.Popen(["sleep", "600"], start_new_session=in_session_of_its_own)
    _note(folder / "orphans.txt", {"pid": orphan.pid})


def result(
    kind: Kind,
    instances: list[bytes],
    model_sha256: str,
    is_wrong: bool,
    *,
    look_here: bool = False,
) -> bytes:
    """An object without content but an outline of 1500 mL; its UID depends on the patient, the
    instances and their places, and the model alone.

    is_wrong: it belongs to another study. look_here: with a second ROI.
    """
    source = [pydicom.dcmread(BytesIO(one), stop_before_pixels=True) for one in instances]
    slices = sorted(f"{one.SOPInstanceUID} {one.get('ImagePositionPatient')}" for one in source)
    parts = [kind, str(source[0].PatientID), *slices, model_sha256]
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    uid = f"2.25.{int.from_bytes(digest[:15], 'big')}"
    written = Dataset()
    written.file_meta = FileMetaDataset()
    written.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written.SOPClassUID = _SOP_CLASSES[kind]
    written.SOPInstanceUID = uid
    written.SeriesInstanceUID = f"{uid}.1"
    written.StudyInstanceUID = "1.2.3" if is_wrong else source[0].StudyInstanceUID
    written.PatientID = source[0].PatientID
    written.PatientName = source[0].PatientName
    written.Modality = MODALITIES[kind]
    written.Manufacturer = "orthanc-liver"
    if kind == "RTSTRUCT":
        _refer(written, source)
        _outline(written, source)
    if kind == "RTSTRUCT" and look_here:
        _outline_once_more(written)
    buffer = BytesIO()
    written.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _copies(first: bytes, count: int) -> list[bytes]:
    """So many like the first in one series."""
    several = [first]
    for number in range(1, count):
        one = pydicom.dcmread(BytesIO(first))
        one.SOPInstanceUID += f".{number}"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        buffer = BytesIO()
        one.save_as(buffer, enforce_file_format=True)
        several.append(buffer.getvalue())
    return several


def _outline_once_more(written: Dataset) -> None:
    """The first slice's part of the outline, as where to look."""
    roi = deepcopy(written.StructureSetROISequence[0])
    outlined = deepcopy(written.ROIContourSequence[0])
    roi.ROINumber = outlined.ReferencedROINumber = 2
    roi.ROIName = LOOK_HERE
    outlined.ContourSequence = outlined.ContourSequence[:1]
    written.StructureSetROISequence.append(roi)
    written.ROIContourSequence.append(outlined)


def _refer(written: Dataset, source: Sequence[Dataset]) -> None:
    """Name every slice."""
    frame, study, series = Dataset(), Dataset(), Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = source[0].StudyInstanceUID
    series.SeriesInstanceUID = source[0].SeriesInstanceUID
    series.ContourImageSequence = [Dataset() for _ in source]
    for item, one in zip(series.ContourImageSequence, source, strict=True):
        item.ReferencedSOPClassUID = one.SOPClassUID
        item.ReferencedSOPInstanceUID = one.SOPInstanceUID
    frame.FrameOfReferenceUID = source[0].get("FrameOfReferenceUID", "")
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [series], [study]
    written.ReferencedFrameOfReferenceSequence = [frame]


def _outline(written: Dataset, source: Sequence[Dataset]) -> None:
    """The same square on every slice of an upright series."""
    try:
        rows = [[float(x) for x in one.ImageOrientationPatient] for one in source]
        places = sorted([float(x) for x in one.ImagePositionPatient] for one in source)
    except (AttributeError, TypeError, ValueError):
        return  # a test of what has no place
    height_mm = (places[-1][2] - places[0][2]) * len(places) / max(len(places) - 1, 1)
    if any(row != [1.0, 0.0, 0.0, 0.0, 1.0, 0.0] for row in rows) or not height_mm:
        return
    roi, outlined = Dataset(), Dataset()
    roi.ROINumber = outlined.ReferencedROINumber = 1
    roi.ROIName = "Liver"
    roi.ReferencedFrameOfReferenceUID = source[0].FrameOfReferenceUID
    side_mm = (1_500_000 / height_mm) ** 0.5
    outlined.ContourSequence = [_square((x, y), z, side_mm) for x, y, z in places]
    written.StructureSetROISequence, written.ROIContourSequence = [roi], [outlined]
    written.StructureSetLabel, written.ApprovalStatus = "scripted", "UNAPPROVED"
    written.StructureSetDate, written.StructureSetTime = "20260101", "080000"


def _square(corner: tuple[float, float], z: float, side_mm: float) -> Dataset:
    x, y = corner
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = 4
    corners = [(x, y), (x + side_mm, y), (x + side_mm, y + side_mm), (x, y + side_mm)]
    contour.ContourData = [format_number_as_ds(n) for c in corners for n in (*c, z)]
    return contour


def tiny_png() -> bytes:
    """One grey pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\x80")
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _script(folder: Path) -> Script:
    return Script(**json.loads((folder / "script.json").read_text()))


def _note(path: Path, note: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(note) + "\n")


def _notes(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
