"""The JSON that the routes take and answer, as JSON Schema for GET /liver/openapi.json.

What is named here is there; objects that answer may hold more, objects that are sent may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orthanc_liver.engine.protocol import (
    DOUBTFUL,
    GRADES,
    MOST_DRAWINGS,
    MOST_NUMBERS,
    MOST_REGIONS,
    Outcome,
)
from orthanc_liver.engine.protocol import Kind as ObjectKind
from orthanc_liver.host.delivery.delivery import Arrival
from orthanc_liver.host.delivery.destinations import DestinationKind
from orthanc_liver.host.intake.paced import MAX_STUDIES
from orthanc_liver.host.intake.place import Stage
from orthanc_liver.host.intake.remote_study import Key, Way
from orthanc_liver.host.jobs.job import JOB_TYPE, State
from orthanc_liver.host.review.cut import FARTHEST_MM, LEAST_NUMBERS, PLANE_NUMBERS
from orthanc_liver.host.review.review import NAME_CHARS, REASON_CHARS, Verdict
from orthanc_liver.identifiers import JOB, RESOURCE
from orthanc_liver.sirt.inputs import CHOICES, QUANTITIES, ROIS
from orthanc_liver.sirt.methods import METHODS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
RESOURCE_ID: Schema = {"type": "string", "pattern": f"^{RESOURCE}$"}
JOB_ID: Schema = {"type": "string", "pattern": f"^{JOB}$"}
_TIME: Schema = {"type": "string", "description": "UTC, YYYYMMDDThhmmss.ffffff"}
_DATE: Schema = {
    "type": "string",
    "pattern": "^[12][0-9]{3}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])$",
    "description": "YYYYMMDD",
}


def ref(name: str) -> Schema:
    """One of NAMED."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(item: Schema, **more: Any) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": item, **more}


def answered(**there: Schema) -> Schema:
    """An object that holds these, and perhaps more in later versions."""
    return {"type": "object", "required": list(there), "properties": there}


def sent(needed: Iterable[str] = (), /, **may: Schema) -> Schema:
    """An object that holds nothing else than these."""
    names = list(needed)
    some = {"required": names} if names else {}
    return {"type": "object", **some, "properties": may, "additionalProperties": False}


def _one_of(words: Iterable[str]) -> Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _counts(words: Iterable[str]) -> Schema:
    return answered(**{str(word): COUNT for word in words})


def _by_slice() -> Schema:
    """Contours: lists of column, row, column, row ..."""
    contours = list_of(list_of({"type": "integer"}))
    return {"type": "object", "additionalProperties": contours}


def _page_of(jobs: Schema, **more: Schema) -> Schema:
    return answered(Total=COUNT, Page=COUNT, Pages=COUNT, Jobs=list_of(jobs), **more)


_SEQUENCE: Schema = list_of(NUMBER)
_BY: Schema = {
    **TEXT,
    "minLength": 1,
    "maxLength": NAME_CHARS,
    "description": "on one line; only where Orthanc does not know who asks",
}
_PLACE_MM: Schema = {"type": "number", "minimum": -FARTHEST_MM, "maximum": FARTHEST_MM}
_PLANE: Schema = {
    **list_of(_PLACE_MM, minItems=PLANE_NUMBERS, maxItems=PLANE_NUMBERS),
    "description": "x, y, z of three points in mm of the patient",
}
_LASSOS: Schema = {
    **list_of(
        list_of(
            list_of(_PLACE_MM, minItems=LEAST_NUMBERS, maxItems=MOST_NUMBERS),
            minItems=1,
            maxItems=MOST_DRAWINGS,
        ),
        minItems=1,
        maxItems=MOST_REGIONS,
    ),
    "description": "for each region what is drawn around it, x, y, z of each point, a list a slice",
}
_DESTINATION: Schema = {"type": "object", "propertyNames": _one_of(DestinationKind)}

_OUTCOMES = ("", *Outcome)

_CONTENT = answered(
    Series=RESOURCE_ID,
    Study=RESOURCE_ID,
    SourceKey=TEXT,
    Force=FLAG,
    Attempt=COUNT,
    Stage=TEXT,
    Outcome=_one_of(_OUTCOMES),
    Ending=_one_of((*_OUTCOMES, DOUBTFUL)),
    Reason=TEXT,
    Model=_or_null(ref("Model")),
    Result=_or_null(answered(Instance=RESOURCE_ID)),
    Report=_or_null(ref("Report")),
)
_JOB = answered(
    ID=JOB_ID,
    Type=_one_of([JOB_TYPE]),
    State=_one_of(State),
    Progress={"type": "integer", "minimum": 0, "maximum": 100},
    Priority={"type": "integer"},
    CreationTime=_TIME,
    Timestamp=_TIME,
    EffectiveRuntime=NUMBER,
    ErrorCode={"type": "integer"},
    ErrorDescription=TEXT,
    ErrorDetails=TEXT,
    Content=_CONTENT,
)
_DELIVERY = answered(
    ID=JOB_ID,
    Job=JOB_ID,
    Series=RESOURCE_ID,
    Kind=TEXT,
    Instances=list_of(RESOURCE_ID),
    Destination=_DESTINATION,
    State=_one_of(State),
    Arrival=_one_of(Arrival),
    Attempts=COUNT,
    Reason=TEXT,
    OrthancJob=TEXT,
    CreationTime=_TIME,
    CompletionTime=_or_null(_TIME),
    NextAttempt=_or_null(_TIME),
)
_STATUS = answered(
    Version=TEXT,
    Engine=_one_of(["starting", "ready", "unavailable", "stopped: settings"]),
    EngineProblem=TEXT,
    Model=_or_null(ref("Model")),
    Device=_or_null(TEXT),
    Modality=TEXT,
    Automatic=FLAG,
    Queue=_counts(State),
    OldestWaitingSeconds=COUNT,
    Deliveries=_counts(State),
    Arrivals=_counts(one for one in Arrival if one),
    ArrivedWhileAway=COUNT,
    Reviews=_counts(Verdict),
    LabelsProblem=TEXT,
    ShadowProblem=TEXT,
    Viewer=TEXT,
    Backfill=ref("Backfill"),
    Pull=ref("Pull"),
    Broker=_or_null(
        answered(
            State=_one_of(["serves", "away"]),
            Workers=COUNT,
            Waiting=COUNT,
            DoneBy={"type": "object", "additionalProperties": list_of({"type": "number"})},
        )
    ),
    Threads={"type": "object", "additionalProperties": TEXT},
    SettingsProblems=list_of(TEXT),
)
_WANTED_LISTS = {f"{key}s": list_of(TEXT, maxItems=MAX_STUDIES) for key in Key}
_ACTIVITY_ASKED = sent(
    ["Method"],
    Method=_one_of(METHODS),
    **{
        name: {
            "type": "number",
            "minimum": one.low,
            "maximum": one.high,
            "description": f"{one.meaning}, {one.unit}" if one.unit else one.meaning,
        }
        for name, one in QUANTITIES.items()
    },
    **{
        name: {**TEXT, "description": f"the ROI whose volume is {quantity}"}
        for name, quantity in ROIS.items()
    },
    **{name: {**_one_of(one.options), "description": one.meaning} for name, one in CHOICES.items()},
    Rtstruct=RESOURCE_ID,
    OutsideIsMeant=FLAG,
    Table=FLAG,
    LungsFromCt=FLAG,
    Store=list_of(_one_of(one for one in ObjectKind if one is not ObjectKind.RTSTRUCT)),
)
_FIGURE = answered(Name=TEXT, Meaning=TEXT, Value=_or_null(NUMBER), Unit=TEXT, Formula=TEXT)
_INPUT = answered(Name=TEXT, Symbol=TEXT, Meaning=TEXT, Value=NUMBER, Unit=TEXT, Origin=TEXT)

NAMED: Mapping[str, Schema] = {
    "Error": answered(
        HttpError=TEXT, HttpStatus={"type": "integer"}, Message=TEXT, Method=TEXT, Uri=TEXT
    ),
    "Nothing": {"type": "object", "maxProperties": 0},
    "Model": answered(Name=TEXT, Sha256=TEXT),
    "Status": _STATUS,
    "JobReference": answered(ID=JOB_ID, Path=TEXT, IsDone=FLAG),
    "Report": {
        "type": "object",
        "properties": {"liver_ml": _or_null(NUMBER), "grade": _one_of(GRADES)},
    },
    "Job": _JOB,
    "JobShown": {
        "allOf": [
            ref("Job"),
            answered(
                Content=answered(
                    Deliveries=list_of(ref("Delivery")), Review=_or_null(ref("Review"))
                )
            ),
        ]
    },
    "Queue": answered(
        Running=list_of(ref("JobShown")),
        Waiting=_page_of(ref("JobShown"), All=COUNT),
        Finished=_page_of(ref("JobShown")),
        Outcomes={"type": "object", "additionalProperties": COUNT},
        Arriving=list_of(answered(Series=RESOURCE_ID, Slices=COUNT)),
    ),
    "Delivery": _DELIVERY,
    "Review": answered(
        Series=RESOURCE_ID,
        Job=JOB_ID,
        Rtstruct=RESOURCE_ID,
        Verdict=_one_of(Verdict),
        Reason=TEXT,
        By=TEXT,
        IsTyped=FLAG,
        Time=_TIME,
    ),
    "Decision": sent(
        ["Verdict", "Rtstruct"],
        Verdict=_one_of(Verdict),
        Rtstruct=RESOURCE_ID,
        Reason={
            **TEXT,
            "minLength": 1,
            "maxLength": REASON_CHARS,
            "description": "on one line; why it is rejected",
        },
        By=_BY,
    ),
    "CutAsked": {
        "oneOf": [
            sent(["Rtstruct", "Plane"], Rtstruct=RESOURCE_ID, Plane=_PLANE, By=_BY),
            sent(["Rtstruct", "Lassos"], Rtstruct=RESOURCE_ID, Lassos=_LASSOS, By=_BY),
        ]
    },
    "Parts": answered(
        Instance=RESOURCE_ID,
        SopInstanceUid=TEXT,
        Series=RESOURCE_ID,
        Outline=TEXT,
        Plane=_SEQUENCE,
        Lassos=list_of(list_of(_SEQUENCE)),
        By=TEXT,
        IsTyped=FLAG,
        Time=_TIME,
        PartsMl={"type": "object", "additionalProperties": NUMBER},
        SupersededBy=TEXT,
    ),
    "Forced": sent(Force=FLAG),
    "BackfillAsked": {
        "oneOf": [
            sent(["Studies"], Studies=list_of(RESOURCE_ID, maxItems=MAX_STUDIES)),
            sent(["From", "To"], From=_DATE, To=_DATE),
        ]
    },
    "Backfill": _or_null(
        answered(
            State=_one_of(Stage),
            CreationTime=_TIME,
            Studies=COUNT,
            Done=COUNT,
            Submitted=COUNT,
            Skipped=COUNT,
        )
    ),
    "PullAsked": {"oneOf": [sent([way], **{way: TEXT}, **_WANTED_LISTS) for way in Way]},
    "Pull": _or_null(
        answered(
            State=_one_of(Stage),
            CreationTime=_TIME,
            Studies=COUNT,
            Done=COUNT,
            Failed=COUNT,
            AlreadyHere=COUNT,
            Reason=TEXT,
        )
    ),
    "PullShown": answered(
        Pull=ref("Pull"),
        Failures=list_of({"type": "object", "additionalProperties": TEXT}),
        AlreadyHere=list_of({"type": "object", "additionalProperties": TEXT}),
        Sources=list_of({"type": "object", "additionalProperties": TEXT}),
    ),
    "FilterTried": answered(Series=RESOURCE_ID, Taken=FLAG, Why=TEXT),
    "Slices": answered(
        User=TEXT,
        Job=_or_null(ref("JobShown")),
        Stack=answered(
            Rows=COUNT,
            Columns=COUNT,
            SpacingMm=_SEQUENCE,
            AlongRow=_SEQUENCE,
            DownColumn=_SEQUENCE,
            Normal=_SEQUENCE,
            Slices=list_of(answered(Instance=RESOURCE_ID, OffsetMm=NUMBER, CornerMm=_SEQUENCE)),
        ),
    ),
    "Outline": answered(
        Rtstruct=RESOURCE_ID,
        Roi={"type": "integer"},
        Name=TEXT,
        Label=TEXT,
        Date=TEXT,
        Approval=TEXT,
    ),
    "QualityChart": answered(
        Model=TEXT,
        Sha256=TEXT,
        IsShadow=FLAG,
        AgainstFirst=_or_null(
            answered(Outlines=COUNT, MeanDsc=NUMBER, LowestDsc=NUMBER, MeanRv=NUMBER)
        ),
        Cases=COUNT,
        WantsCases=COUNT,
        FirstCases=_or_null(COUNT),
        MeanDsc=_or_null(NUMBER),
        BeyondDsc=_or_null(NUMBER),
        SlowLimitDsc=_or_null(NUMBER),
        SlowDsc=_or_null(NUMBER),
        Rules=list_of(TEXT),
        Points=list_of(answered(Time=_TIME, Series=RESOURCE_ID, Dsc=NUMBER, Rules=list_of(TEXT))),
    ),
    "Contours": answered(PartsOfPixel=COUNT, NotShown=COUNT, Slices=_by_slice()),
    "Unsure": answered(Job=JOB_ID, PartsOfPixel=COUNT, Slices=_by_slice()),
    "ActivityAsked": _ACTIVITY_ASKED,
    "Activity": {
        **answered(
            Method=_one_of(METHODS),
            Title=TEXT,
            Nuclide=TEXT,
            ActivityGbq=_or_null(NUMBER),
            Results=list_of(_FIGURE),
            Inputs=list_of(_INPUT),
            Chosen={"type": "object", "additionalProperties": TEXT},
            Limits=list_of(answered(Name=TEXT, ValueGy=NUMBER, LimitGy=NUMBER, Kept=FLAG)),
            Warnings=list_of(TEXT),
            Sources=list_of(TEXT),
            Note=TEXT,
        ),
    },
    "ActivityForm": answered(
        Methods={"type": "object"}, Inputs={"type": "object"}, Choices={"type": "object"}
    ),
}
