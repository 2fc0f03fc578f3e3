"""The language between Orthanc and the processes that it starts: typed messages on a pipe.

To the inference process: an Order, then its Instances. From it: Ready or Failed once; then for each
order Progress, ResultObjects, a Preview, where there is doubt Unsure, and Done as the last. The
document process takes one DocumentOrder, ComparisonOrder or PartsOrder with its Instances and
answers with ResultObjects or Compared, and Done.
The dispatcher takes a Connect, then Errands and Recalls, and answers an Errand as an Order is
answered; BrokerState at any time.

On the pipe a message is two lengths (4 and 8 bytes, big endian), a JSON object and a payload: the
field of type bytes. Whatever is not exactly one of these messages is a ProtocolError.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from io import BytesIO
from types import NoneType, UnionType
from typing import Any, Protocol, get_args, get_origin, get_type_hints

# How much of a job's work each stage is, in percent, in the order in which they run.
STAGES: Mapping[str, int] = {
    "read": 20,
    "resample": 5,
    "localise": 25,
    "infer": 30,
    "look again": 5,
    "back to the CT grid": 2,
    "clean": 4,
    "doubt": 2,
    "contour": 4,
    "preview": 1,
    "write": 2,
}


def percent_done(stage: str, fraction: float) -> int:
    """How much of a job's work is done when so much of a stage is."""
    before = sum(list(STAGES.values())[: list(STAGES).index(stage)])
    return int(before + STAGES[stage] * min(max(fraction, 0.0), 1.0))


class Outcome(StrEnum):
    """How a job ended."""

    SEGMENTED = "segmented"
    NO_LIVER = "no liver found"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


# How an outline is to be taken, the better one first; a report's "grade".
SURE, LOOK, DOUBTFUL = GRADES = ("sure", "look", "doubtful")


class Kind(StrEnum):
    """What may be stored beside a CT, in the order in which it is made. SC: the slices as pictures
    with the outline, several objects; PDF: a sheet to read and print."""

    RTSTRUCT = "RTSTRUCT"
    SEG = "SEG"
    SR = "SR"
    SC = "SC"
    PDF = "PDF"


# What each one's DICOM modality is; the last two are also other people's.
MODALITIES: Mapping[Kind, str] = {
    Kind.RTSTRUCT: "RTSTRUCT",
    Kind.SEG: "SEG",
    Kind.SR: "SR",
    Kind.SC: "OT",
    Kind.PDF: "DOC",
}

# What an object refers to, so that it cannot be without it.
NEEDS: Mapping[Kind, tuple[Kind, ...]] = {Kind.SR: (Kind.SEG,)}


def with_needs(kinds: Iterable[str]) -> tuple[Kind, ...]:
    """These kinds and what they refer to, in the order in which they are made."""
    named = {Kind(one) for one in kinds}
    return tuple(k for k in Kind if k in named or any(k in NEEDS.get(one, ()) for one in named))


# The ROI, and the segment, that shows where the networks are unsure.
LOOK_HERE = "Look here"
# In the setting SeriesDescription, what the CT is called.
SOURCE = "{source}"


@dataclass(frozen=True)
class JobSettings:
    """The settings that travel with a job, with their defaults. kinds: what is to be written;
    look_here: with the regions of doubt; projections: read also what ImageType calls one, for
    somebody asked for it."""

    minimum_slices: int = 20
    maximum_memory_mib: int = 6144
    roi_name: str = "Liver"
    roi_colour: tuple[int, ...] = (221, 130, 101)
    series_description: str = f"Liver auto: {SOURCE}"
    kinds: tuple[Kind, ...] = (Kind.RTSTRUCT,)
    look_here: bool = False
    projections: bool = False


@dataclass(frozen=True)
class Order:
    """Segment the series whose instances follow."""

    job: str
    instances: int
    settings: JobSettings


@dataclass(frozen=True)
class DocumentOrder:
    """Write further objects of a job whose RTSTRUCT is stored; the CT's instances follow.

    activity: as Activity.as_json tells it; sheet: as as_text does. grade, warnings and look_at, of
    each place the first and the last slice: of the job's report. The names say what made the
    RTSTRUCT.
    """

    job: str
    instances: int
    settings: JobSettings
    software_version: str
    model_name: str
    model_sha256: str
    grade: str
    warnings: tuple[str, ...]
    look_at: tuple[tuple[int, ...], ...]
    activity: dict[str, Any] | None
    sheet: str
    rtstruct: bytes


@dataclass(frozen=True)
class ComparisonOrder:
    """Compare the outline of a job with one that somebody else drew; that one follows as
    OtherOutline, and then the CT's instances. roi: the other's exact name; rtstruct: the job's."""

    job: str
    instances: int
    settings: JobSettings
    roi: str
    rtstruct: bytes


# Lists of numbers that a cut may hold, and numbers in them: brackets and length of a message end.
MOST_DRAWINGS, MOST_REGIONS, MOST_NUMBERS = 100, 4, 12_000
RIGHT_LOBE, LEFT_LOBE, NOT_PERFUSED = "Right lobe", "Left lobe", "Not perfused"


@dataclass(frozen=True)
class Cut:
    """How a person cuts a liver, in mm of the patient (LPS): x, y, z, x, y, z ...

    plane: its three points; or lassos: of each perfused region what was drawn around it, on a slice
    each. Of the two one is empty.
    """

    plane: tuple[float, ...] = ()
    lassos: tuple[tuple[tuple[float, ...], ...], ...] = ()


@dataclass(frozen=True)
class PartsOrder:
    """Cut the liver of an RTSTRUCT of ours into parts, and write these as one of their own.

    by: whose work it is. The names say what made the RTSTRUCT.
    """

    job: str
    instances: int
    settings: JobSettings
    software_version: str
    model_name: str
    model_sha256: str
    cut: Cut
    by: str
    rtstruct: bytes


@dataclass(frozen=True)
class OtherOutline:
    """Somebody's RTSTRUCT or SEG."""

    job: str
    content: bytes


@dataclass(frozen=True)
class Instance:
    """One DICOM file of the series."""

    job: str
    content: bytes


@dataclass(frozen=True)
class Connect:
    """Where the broker is, and which Orthanc asks there; url: without a password.

    ca_file: whose signature on the broker's certificate is believed, empty: the system's.
    """

    url: str
    password: str = field(repr=False)
    ca_file: str
    orthanc: str


class Rank(StrEnum):
    """Who waits for a case, who is served first first."""

    PEOPLE = "people"
    ARRIVALS = "arrivals"
    BACKFILL = "backfill"


@dataclass(frozen=True)
class Errand:
    """Have a worker segment a series; case: what engine/cluster_case.py writes."""

    job: str
    rank: Rank
    case: bytes


@dataclass(frozen=True)
class Recall:
    """Nobody waits for the job's errand any more."""

    job: str


@dataclass(frozen=True)
class DoneBy:
    """What one worker has answered this Orthanc, and the seconds from taking to answering."""

    worker: str
    cases: int
    seconds: float


@dataclass(frozen=True)
class BrokerState:
    """How the broker stands; problem: empty where it answers. workers: of this model; waiting:
    cases that no worker has taken yet, of every Orthanc. done: since the dispatcher started."""

    problem: str
    workers: int
    waiting: int
    done: tuple[DoneBy, ...] = ()


@dataclass(frozen=True)
class Ready:
    """What the inference process says of itself when it is up."""

    version: str
    model_name: str
    model_sha256: str
    device: str


@dataclass(frozen=True)
class Failed:
    """Instead of Ready: it cannot work at all."""

    reason: str


@dataclass(frozen=True)
class Progress:
    """How far the job is within one of STAGES; fraction: 0 to 1."""

    job: str
    stage: str
    fraction: float

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"{self.stage!r} is not in the table of stages")


@dataclass(frozen=True)
class ResultObject:
    """One DICOM file to be stored."""

    job: str
    kind: Kind
    content: bytes


@dataclass(frozen=True)
class Preview:
    """The picture, a PNG."""

    job: str
    content: bytes


@dataclass(frozen=True)
class Unsure:
    """Where the networks are unsure: contours by slice, as JSON."""

    job: str
    content: bytes


@dataclass(frozen=True)
class Agreement:
    """The job's outline (A) against another (B): rv and ra are A / B, of volume and of glass
    activity; mda_mm: None on a tilted CT. worst_slice: of the CT, counted from 1, on which they
    differ most, by worst_ml; warnings: what was left out of the other."""

    dsc: float
    mda_mm: float | None
    rv: float
    ra: float
    ours_ml: float
    theirs_ml: float
    worst_slice: int
    worst_ml: float
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = (self.rv, self.ra, self.ours_ml, self.theirs_ml, self.worst_ml, self.mda_mm or 0)
        if not 0 <= self.dsc <= 1 or min(lengths) < 0 or self.worst_slice < 1:
            raise ValueError("no agreement")


@dataclass(frozen=True)
class Compared:
    """How well two outlines agree."""

    job: str
    agreement: Agreement


@dataclass(frozen=True)
class Done:
    """The last message of a job. report: as pipeline.report tells it, where there is a result; of
    parts "parts_ml" by their names.

    is_last: the process ends, for a GPU that it lost or that a fresh one should try again.
    is_final: where it failed, another attempt would fail as well.
    """

    job: str
    outcome: Outcome
    reason: str
    report: dict[str, Any] | None
    is_last: bool = False
    is_final: bool = False

    def __post_init__(self) -> None:
        check_report(self.report or {})


def check_report(report: Mapping[str, Any]) -> None:
    """An error of any type where what somebody reads of it is not as pipeline.report tells it, now
    or in an older version; what is missing or null is not there."""
    told = {name: value for name, value in report.items() if value is not None}
    typed(float | None, told.get("liver_ml"))
    typed(str, typed(dict[str, Any], told.get("lungs", {})).get("reason", ""))
    reason = typed(str, typed(dict[str, Any], told.get("no_liver", {"reason": "-"}))["reason"])
    if not all((reason, *typed(tuple[str, ...], told.get("warnings", [])))):
        raise ValueError("an empty sentence")
    if told.get("grade") not in (None, *GRADES):
        raise ValueError("no grade")
    for region in typed(list[Any], told.get("look_at", [])):
        first, last = typed(tuple[int, ...], region["slices"])
        if not 0 < first <= last:
            raise ValueError("no slices")
    for name in ("parts_ml", "seconds"):
        for figure in typed(dict[str, Any], told.get(name, {})).values():
            typed(float, figure)


AboutAJob = Progress | ResultObject | Preview | Unsure | Compared | Done
AnyOrder = Order | DocumentOrder | ComparisonOrder | PartsOrder
ToDispatcher = Connect | Errand | Recall
Message = (
    AnyOrder | OtherOutline | Instance | ToDispatcher | BrokerState | Ready | Failed | AboutAJob
)
_BY_NAME = {kind.__name__: kind for kind in get_args(Message)}

_LENGTHS = struct.Struct(">IQ")
# A report has some kilobytes.
_MAX_HEAD_BYTES = 256 * 1024
# Python's parser recurses on nested values; a report has ten of them, an activity fifty.
_MAX_BRACKETS = 200
# What JSON becomes in Python takes as many times its length at the most.
_HEAD_WEIGHT = 32
# DICOM's own lengths go no further; what a series may take is for the reader of the series to say.
_MAX_MESSAGE_BYTES = 4 * 1024**3
# A SEG of 1000 slices of 1024 x 1024 has 125 MiB, an RTSTRUCT a tenth of it.
MAX_ANSWER_BYTES = 512 * 1024**2
_CHUNK_BYTES = 1024**2


class PipeClosed(EOFError):
    """The other side is gone, between two messages or within one."""


class ProtocolError(ValueError):
    """str(error) says what is wrong, without anything that the other side sent."""


class Source(Protocol):
    """Where messages come from."""

    def read(self, length: int, /) -> bytes: ...


class Sink(Protocol):
    """Where messages go to."""

    def write(self, content: bytes, /) -> object: ...
    def flush(self) -> None: ...


@dataclass
class Allowance:
    """How much memory the messages that are still to come may take."""

    left_bytes: int = _MAX_MESSAGE_BYTES

    def take(self, length: int) -> None:
        """ProtocolError where that is more than is left."""
        self.left_bytes -= length
        if self.left_bytes < 0:
            raise ProtocolError("more than a job may send")


def write(pipe: Sink, message: Message) -> None:
    """Send one message at once; ProtocolError, and nothing sent, where read would refuse it."""
    head: dict[str, Any] = {"type": type(message).__name__, **asdict(message)}
    payload: bytes = head.pop(_payload_field(type(message)), b"")
    text = json.dumps(head, allow_nan=False).encode()
    if len(text) > _MAX_HEAD_BYTES:
        raise ProtocolError("a message with too long a head")
    pipe.write(_LENGTHS.pack(len(text), len(payload)) + text)
    pipe.write(payload)
    pipe.flush()


def read(pipe: Source, allowance: Allowance | None = None) -> Message:
    """Wait for one message; PipeClosed where none comes, ProtocolError where it is not one.

    Nothing is allocated for a length before as much has come.
    """
    head_length, payload_length = _LENGTHS.unpack(_taken(pipe, _LENGTHS.size))
    if head_length > _MAX_HEAD_BYTES:
        raise ProtocolError("a message without a head")
    (allowance or Allowance()).take(_HEAD_WEIGHT * head_length + payload_length)
    head, payload = _taken(pipe, head_length), _taken(pipe, payload_length)
    try:
        return _message(head, payload)
    except Exception as error:  # whatever the parser stumbles over
        raise ProtocolError("something that is not a message") from error


def read_instances(pipe: Source, order: AnyOrder) -> Iterator[bytes]:
    """The DICOM files that follow an order; ProtocolError for anything else."""
    for _ in range(order.instances):
        message = read(pipe)
        if not isinstance(message, Instance) or message.job != order.job:
            raise ProtocolError(f"a {type(message).__name__} among the instances of a job")
        yield message.content


def _message(head: bytes, payload: bytes) -> Message:
    if head.count(b"[") + head.count(b"{") > _MAX_BRACKETS:
        raise ValueError("deeply nested")
    fields = json.loads(head, parse_float=_finite, parse_constant=_finite)
    json.dumps(fields, ensure_ascii=False).encode()  # half a character cannot be logged
    kind = _BY_NAME[fields.pop("type")]
    name = _payload_field(kind)
    if name in fields or (payload and not name):
        raise ValueError("a payload out of place")
    if name:
        fields[name] = payload
    message: Message = typed(kind, fields)
    return message


def typed(kind: Any, value: Any) -> Any:
    """The value as a field of this type holds it; an error of any type where it is another."""
    choices = get_args(kind)
    if hasattr(kind, "__dataclass_fields__"):
        fields = _fields_of(kind)
        if set(value) != set(fields):
            raise ValueError("fields are missing, or too many")
        return kind(**{name: typed(fields[name], one) for name, one in value.items()})
    if get_origin(kind) is UnionType:  # always X | None
        return None if isinstance(value, NoneType) else typed(choices[0], value)
    if get_origin(kind) is tuple:
        return tuple(typed(choices[0], one) for one in typed(list, value))
    if kind is float and type(value) is int:
        return float(value)
    if issubclass(get_origin(kind) or kind, StrEnum):
        return kind(typed(str, value))
    if type(value) is not (get_origin(kind) or kind):
        raise TypeError(f"a {type(value).__name__} where {kind} belongs")
    return value


def _payload_field(kind: type) -> str:
    return next((name for name, type_ in _fields_of(kind).items() if type_ is bytes), "")


@cache
def _fields_of(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


def _taken(pipe: Source, length: int) -> bytes:
    taken = BytesIO()
    while left := length - taken.tell():
        part = pipe.read(min(left, _CHUNK_BYTES))
        if not part:
            raise PipeClosed("the pipe was closed")
        taken.write(part)
    return taken.getvalue()
