"""GET /liver/openapi.json: the table of routes with what each takes and answers (OpenAPI 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any

from orthanc_liver import NOTE, __version__
from orthanc_liver.host.web.metrics import CONTENT_TYPE
from orthanc_liver.host.web.quality_table import CSV
from orthanc_liver.host.web.queue_view import MOST_STUDIES, WORDS
from orthanc_liver.host.web.schemas import JOB_ID, NAMED, RESOURCE_ID, Schema, list_of, ref
from orthanc_liver.identifiers import JOB, RESOURCE

# What stands in a path, and what the document calls it.
_PLACES = {f"({RESOURCE})": RESOURCE_ID, f"({JOB})": JOB_ID}
_ID = "{id}"
_JSON, _HTML, _PNG, _PLAIN = "application/json", "text/html", "image/png", "text/plain"
_PAGE: Schema = {"type": "integer", "minimum": 1, "maximum": 999_999}
_ANY: Schema = {}
_IDS: Schema = list_of(RESOURCE_ID, maxItems=MOST_STUDIES)


@dataclass(frozen=True)
class Described:
    """What a client may know of a route beside method and path.

    answers: by media type; query: parameters, those of `needed` must be there; body: what is sent,
    needed where is_needed, else the body may be empty; refuses: further statuses.
    """

    text: str
    answers: Mapping[str, Schema]
    query: Mapping[str, Schema] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()
    body: Schema | None = None
    is_needed: bool = False
    refuses: tuple[HTTPStatus, ...] = ()


def _json(schema: Schema) -> Mapping[str, Schema]:
    return {_JSON: schema}


_DONE = _json(ref("Nothing"))
_CONFLICT = (HTTPStatus.CONFLICT,)
_BAD = (HTTPStatus.BAD_REQUEST,)

DESCRIBED: Mapping[tuple[str, str], Described] = {
    ("GET", "status"): Described(
        "version, model, device, queue, how the plugin's threads are, with `Broker` how it stands, "
        "and what is wrong with the settings",
        _json(ref("Status")),
    ),
    ("GET", "app"): Described(
        "a page for people: find patients, segment, see what runs, waits and is finished; in "
        "English or German, as the browser prefers",
        {_HTML: _ANY},
    ),
    ("GET", "openapi.json"): Described(
        "this table for programs: what each route takes and answers, as OpenAPI 3.1",
        _json({"type": "object"}),
    ),
    ("GET", "metrics"): Described("figures for Prometheus", {CONTENT_TYPE.partition(";")[0]: _ANY}),
    ("GET", "filter/test"): Described(
        "of the last 50 series whether the settings would take them, and why not",
        _json(list_of(ref("FilterTried"))),
    ),
    ("POST", "series/{id}/segment"): Described(
        'a job for this series; `{"Force": true}` runs it again even if the result will be the '
        "same, and accepts a projection",
        _json(ref("JobReference")),
        body=ref("Forced"),
        refuses=_CONFLICT,
    ),
    ("POST", "studies/{id}/segment"): Described(
        "a job for every series of the study that passes the settings, or for the best of them "
        "with `OnePerStudy`",
        _json(list_of(ref("JobReference"))),
        body=ref("Forced"),
        refuses=_CONFLICT,
    ),
    ("GET", "quality"): Described(
        "a table (CSV) of physicians' outlines that came back, each compared with ours",
        {CSV.partition(";")[0]: _ANY},
    ),
    ("GET", "quality/chart"): Described(
        "each model's control chart of them, as JSON", _json(list_of(ref("QualityChart")))
    ),
    ("GET", "quality/page"): Described("a page for people that draws these charts", {_HTML: _ANY}),
    ("GET", "queue"): Described(
        "what the page shows: what runs, what waits in its order, the last job of each series "
        "that is finished, newest first, by `waiting` and `finished` pages of 20; "
        "`?study=ids&outcome=words`",
        _json(ref("Queue")),
        query={
            "study": _IDS,
            "outcome": {"type": "string", "enum": ["", *WORDS]},
            "waiting": _PAGE,
            "finished": _PAGE,
        },
        refuses=_BAD,
    ),
    ("GET", "jobs"): Described(
        "the jobs' ids; with `?expand` the jobs; with `?series={id}` or `?study={id}` only theirs",
        _json({"anyOf": [list_of(JOB_ID), list_of(ref("JobShown"))]}),
        query={"expand": {"type": "string"}, "series": RESOURCE_ID, "study": RESOURCE_ID},
        refuses=_BAD,
    ),
    ("GET", "jobs/{id}"): Described(
        "one job, in the shape of Orthanc's own jobs: `State`, `Progress`, `Content`",
        _json(ref("JobShown")),
    ),
    ("POST", "jobs/{id}/cancel"): Described(
        "ends a job that is pending or running", _DONE, refuses=_CONFLICT
    ),
    ("POST", "jobs/{id}/next"): Described(
        "lets a waiting job be the next", _DONE, refuses=_CONFLICT
    ),
    ("POST", "jobs/{id}/resubmit"): Described("runs a failed job again", _DONE, refuses=_CONFLICT),
    ("POST", "jobs/{id}/deliver"): Described(
        "sends the job's result to the destinations, now",
        _json(list_of(ref("Delivery"))),
        refuses=_CONFLICT,
    ),
    ("GET", "deliveries"): Described(
        "deliveries under way to destinations, and how the others ended",
        _json(list_of(ref("Delivery"))),
    ),
    ("POST", "deliveries/{id}/cancel"): Described(
        "ends a delivery without sending", _DONE, refuses=_CONFLICT
    ),
    ("POST", "backfill"): Described(
        'segments older studies, `{"Studies": [ids]}` or `{"From": "20250101", "To": "20250131"}`',
        _json(ref("Backfill")),
        body=ref("BackfillAsked"),
        is_needed=True,
        refuses=_CONFLICT,
    ),
    ("POST", "backfill/cancel"): Described(
        "ends it; no further study is started", _DONE, refuses=_CONFLICT
    ),
    ("GET", "pull"): Described(
        "how far the last pull is, what of it failed and why, what was here already, and whom one "
        "may ask",
        _json(ref("PullShown")),
    ),
    ("POST", "pull"): Described(
        "fetches studies from a modality or DICOMweb server of Orthanc's and segments them as they "
        'arrive, `{"Modality": name, "AccessionNumbers": [texts]}` or `{"DicomWeb": name, '
        '"StudyInstanceUIDs": [uids]}`',
        _json(ref("Pull")),
        body=ref("PullAsked"),
        is_needed=True,
        refuses=_CONFLICT,
    ),
    ("POST", "pull/cancel"): Described(
        "ends it; what is being fetched still arrives", _DONE, refuses=_CONFLICT
    ),
    ("GET", "series/{id}/preview"): Described("the outline on three planes (PNG)", {_PNG: _ANY}),
    ("POST", "series/{id}/activity"): Described(
        "the activity of Y-90 or Ho-166; with `Accept: text/plain` as the command line prints it",
        {_JSON: ref("Activity"), _PLAIN: _ANY},
        body=ref("ActivityAsked"),
        is_needed=True,
        refuses=_CONFLICT,
    ),
    ("GET", "activity"): Described("what each of its methods asks for", _json(ref("ActivityForm"))),
    ("GET", "series/{id}/review"): Described(
        "a page for people: the slices with any outline over them, the series' result, accept "
        "and reject",
        {_HTML: _ANY},
    ),
    ("GET", "series/{id}/slices"): Described(
        "the series' slices in order and how they lie, its last job, what came back of it, and "
        "who asks, as far as Orthanc knows",
        _json(ref("Slices")),
        refuses=_CONFLICT,
    ),
    ("GET", "series/{id}/outlines"): Described(
        "every outline of the series in its study, newest first",
        _json(list_of(ref("Outline"))),
        refuses=(*_BAD, *_CONFLICT),
    ),
    ("GET", "series/{id}/outline"): Described(
        "one of them, `?rtstruct={id}&roi=0`, as contours by slice in pixels of the CT",
        _json(ref("Contours")),
        query={"rtstruct": RESOURCE_ID, "roi": {"type": "integer"}},
        needed=frozenset({"rtstruct", "roi"}),
        refuses=(*_BAD, *_CONFLICT),
    ),
    ("GET", "series/{id}/unsure"): Described(
        "where the networks are unsure of the last job's outline (`look_at`), as contours by "
        "slice in pixels of the CT",
        _json(ref("Unsure")),
    ),
    ("POST", "series/{id}/decision"): Described(
        '`{"Verdict": "accepted", "Rtstruct": id}` or `"rejected"` with a `Reason`; `By` where '
        "Orthanc does not know who asks",
        _json(ref("Review")),
        body=ref("Decision"),
        is_needed=True,
        refuses=_CONFLICT,
    ),
    ("GET", "series/{id}/cuts"): Described(
        "how people cut the series' outlines into lobes or perfused parts, newest first",
        _json(list_of(ref("Parts"))),
    ),
    ("POST", "series/{id}/cut"): Described(
        "cuts the last job's outline, or its accepted copy, and stores the parts: "
        '`{"Rtstruct": id, "Plane": [x, y, z, ...]}` with three points, or `"Lassos"`; `By` where '
        "Orthanc does not know who asks",
        _json(ref("Parts")),
        body=ref("CutAsked"),
        is_needed=True,
        refuses=_CONFLICT,
    ),
}

_ALWAYS_REFUSES = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
_POST_REFUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


def path_of(pattern: str) -> str:
    """A path of the table of routes, as the document writes it."""
    for place in _PLACES:
        pattern = pattern.replace(place, _ID)
    return pattern


def openapi(table: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The document. table: method and pattern of each route; what is not described is a KeyError.

    The server's address is told as seen from the document's own, so it may lie below any path.
    """
    return _document(tuple(table))


@cache
def _document(table: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for method, pattern in table:
        path = path_of(pattern)
        operations = paths.setdefault(f"/liver/{path}", {})
        operations[method.lower()] = _operation(method, pattern, DESCRIBED[method, path])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orthanc-liver",
            "version": __version__,
            "description": NOTE,
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": ".."}],
        "security": [{"orthanc": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(NAMED),
            "securitySchemes": {"orthanc": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(method: str, pattern: str, told: Described) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "_".join(re.findall(r"\w+", f"{method.lower()} {path_of(pattern)}")),
        "description": told.text,
        "responses": _responses(method, pattern, told),
    }
    if parameters := [*_in_path(pattern), *_in_query(told)]:
        operation["parameters"] = parameters
    if told.body is not None:
        operation["requestBody"] = {
            "required": told.is_needed,
            "content": {_JSON: {"schema": told.body}},
        }
    return operation


def _in_path(pattern: str) -> list[dict[str, Any]]:
    return [
        {"name": "id", "in": "path", "required": True, "schema": schema}
        for place, schema in _PLACES.items()
        if place in pattern
    ]


def _in_query(told: Described) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "required": name in told.needed,
            "schema": schema,
            **({"style": "form", "explode": False} if schema.get("type") == "array" else {}),
        }
        for name, schema in told.query.items()
    ]


def _responses(method: str, pattern: str, told: Described) -> dict[str, Any]:
    refuses = {*told.refuses, *_ALWAYS_REFUSES, *(_POST_REFUSES if method == "POST" else ())}
    if any(place in pattern for place in _PLACES):
        refuses.add(HTTPStatus.NOT_FOUND)
    content = {media: ({"schema": one} if one else {}) for media, one in told.answers.items()}
    error = {_JSON: {"schema": ref("Error")}}
    return {
        "200": {"description": HTTPStatus.OK.phrase, "content": content},
        "401": {"description": HTTPStatus.UNAUTHORIZED.phrase},  # by Orthanc itself
        **{str(int(one)): {"description": one.phrase, "content": error} for one in sorted(refuses)},
    }
