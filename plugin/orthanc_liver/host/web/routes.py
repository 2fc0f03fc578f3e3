"""The REST routes, in the manner of Orthanc's own: the same job JSON, the same error JSON.

Nothing else knows of HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from orthanc_liver.host.activity.form import form
from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.errors import (
    Busy,
    Conflict,
    HostError,
    NotOurs,
    NotRunning,
    Refused,
    Unknown,
    fault_of_ours,
)
from orthanc_liver.host.intake.arriving import Arriving
from orthanc_liver.host.jobs.job import UNFINISHED, Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import read_preview
from orthanc_liver.host.quality.quality_control import QualityControl
from orthanc_liver.host.review.reviews import NOBODY, Reviews
from orthanc_liver.host.server.api import (
    Missing,
    Orthanc,
    RestOutput,
    ServerStopping,
    answer_error,
    answer_json,
    json_text,
)
from orthanc_liver.host.server.journal import Journal
from orthanc_liver.host.web.metrics import CONTENT_TYPE
from orthanc_liver.host.web.openapi import openapi
from orthanc_liver.host.web.quality_table import CSV, quality_table
from orthanc_liver.host.web.queue_view import queue_asked, queue_view
from orthanc_liver.host.web.request import HttpError, Request
from orthanc_liver.host.web.shared_answer import SharedAnswer
from orthanc_liver.identifiers import JOB, RESOURCE
from orthanc_liver.sirt.activity import Activity
from orthanc_liver.sirt.inputs import ActivityRefused

_MAX_LIST_BYTES = 200_000  # room for the identifiers of the most studies that are taken
_MAX_CUT_BYTES = 250_000  # and for the points of a cut, of 16 characters each
# On every answer: no other site shows it in a frame, takes it for another type or finds it kept.
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_FOLDER = Path(__file__).parent
_HTML = "text/html; charset=utf-8"
_RETRY_AFTER_S = 10
_RESOURCE, _JOB = f"({RESOURCE})", f"({JOB})"


class Service(Protocol):
    """What the routes need of the plugin."""

    orthanc: Orthanc
    queue: JobQueue
    deliveries: Deliveries
    reviews: Reviews
    journal: Journal
    arriving: Arriving
    quality: QualityControl

    def wait_until_started(self) -> bool: ...
    def status(self) -> dict[str, Any]: ...
    def metrics(self) -> str: ...
    def segment_series(self, series_id: str, *, force: bool) -> Job: ...
    def try_filter(self) -> list[dict[str, Any]]: ...
    def segment_study(self, study_id: str, *, force: bool) -> list[Job]: ...
    def cancel(self, job_id: str, by: str) -> None: ...
    def ask_backfill(self, asked: Mapping[str, Any]) -> dict[str, Any] | None: ...
    def cancel_backfill(self) -> None: ...
    def show_pull(self) -> dict[str, Any]: ...
    def ask_pull(self, asked: Mapping[str, Any], user: str) -> dict[str, Any] | None: ...
    def cancel_pull(self) -> None: ...
    def deliver_again(self, job_id: str) -> list[dict[str, Any]]: ...
    def activity(
        self, series_id: str, asked: Mapping[str, Any]
    ) -> tuple[Activity, list[dict[str, str]]]: ...
    def slices(self, series_id: str) -> dict[str, Any]: ...
    def outlines(self, series_id: str) -> list[dict[str, Any]]: ...
    def outline(self, series_id: str, rtstruct: str, roi: str) -> str: ...
    def unsure(self, series_id: str) -> dict[str, Any]: ...
    def cuts(self, series_id: str) -> list[dict[str, Any]]: ...
    def cut(self, series_id: str, asked: Mapping[str, Any], user: str) -> dict[str, Any]: ...
    def review(self, series_id: str, asked: Mapping[str, Any], user: str) -> dict[str, Any]: ...


# What the client is told of the domain's errors; the first row that an error belongs to counts.
_STATUS: dict[type[Exception], HTTPStatus] = {
    Refused: HTTPStatus.BAD_REQUEST,
    ActivityRefused: HTTPStatus.BAD_REQUEST,
    Unknown: HTTPStatus.NOT_FOUND,
    Missing: HTTPStatus.NOT_FOUND,
    NotOurs: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    NotRunning: HTTPStatus.SERVICE_UNAVAILABLE,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    ServerStopping: HTTPStatus.SERVICE_UNAVAILABLE,
    HostError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


Handler = Callable[[Request, RestOutput], None]


class Routes:
    """Everything below /liver/."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._all_jobs = SharedAnswer(lambda: json_text(self._expanded()))
        self._pages = {name: _page(name) for name in ("app", "review", "quality")}
        table: list[tuple[str, str, Handler]] = [
            ("GET", "status", self._status),
            ("GET", "app", self._app),
            ("GET", "openapi.json", self._openapi),
            ("GET", "metrics", self._metrics),
            ("GET", "filter/test", self._try_filter),
            ("POST", f"series/{_RESOURCE}/segment", self._segment_series),
            ("POST", f"studies/{_RESOURCE}/segment", self._segment_study),
            ("GET", f"series/{_RESOURCE}/preview", self._preview),
            ("POST", f"series/{_RESOURCE}/activity", self._activity),
            ("GET", "activity", self._activity_form),
            ("GET", f"series/{_RESOURCE}/review", self._review_page),
            ("GET", f"series/{_RESOURCE}/slices", self._slices),
            ("GET", f"series/{_RESOURCE}/outlines", self._outlines),
            ("GET", f"series/{_RESOURCE}/outline", self._outline),
            ("GET", f"series/{_RESOURCE}/unsure", self._unsure),
            ("POST", f"series/{_RESOURCE}/decision", self._decide),
            ("GET", f"series/{_RESOURCE}/cuts", self._cuts),
            ("POST", f"series/{_RESOURCE}/cut", self._cut),
            ("GET", "quality", self._quality),
            ("GET", "quality/chart", self._quality_chart),
            ("GET", "quality/page", self._quality_page),
            ("GET", "queue", self._queue),
            ("GET", "jobs", self._jobs),
            ("GET", f"jobs/{_JOB}", self._job),
            ("POST", f"jobs/{_JOB}/cancel", self._cancel),
            ("POST", f"jobs/{_JOB}/next", self._put_first),
            ("POST", f"jobs/{_JOB}/resubmit", self._resubmit),
            ("POST", f"jobs/{_JOB}/deliver", self._deliver),
            ("GET", "deliveries", self._deliveries),
            ("POST", f"deliveries/{_JOB}/cancel", self._cancel_delivery),
            ("POST", "backfill", self._backfill),
            ("POST", "backfill/cancel", self._cancel_backfill),
            ("GET", "pull", self._pull),
            ("POST", "pull", self._ask_pull),
            ("POST", "pull/cancel", self._cancel_pull),
        ]
        self._table = [(method, re.compile(path), handler) for method, path, handler in table]
        self._described = [(method, path) for method, path, _ in table]

    def answer(self, output: RestOutput, uri: str, **raw: Any) -> None:
        """Orthanc's REST callback for /liver/(.*)."""
        for header in _HEADERS.items():
            output.SetHttpHeader(*header)
        path = raw["groups"][0].rstrip("/")
        fits = {
            method: (handler, Request(found.groups(), raw))
            for method, pattern, handler in self._table
            if (found := pattern.fullmatch(path))
        }
        status = HTTPStatus.OK
        try:
            self._dispatch(output, fits, raw["method"])
        except Exception as error:  # noqa: BLE001 a slip of ours is answered too, and not by 404
            refusal = self._in_terms_of_http(error, uri)
            status = refusal.status
            self._refuse(output, uri, raw, refusal)
        if raw["method"] == "POST" and "POST" in fits:
            _, request = fits["POST"]
            facts = {"User": request.user, "Path": f"/liver/{path}", "Status": int(status)}
            self._service.journal.write("request", facts)

    def _dispatch(
        self, output: RestOutput, fits: Mapping[str, tuple[Handler, Request]], method: str
    ) -> None:
        if not fits:
            raise HttpError(HTTPStatus.NOT_FOUND, "there is no such resource")
        if method not in fits:
            # Orthanc's core lets nobody send a body with 405, and sends none itself.
            output.SendMethodNotAllowed(", ".join(fits))
            return
        handler, request = fits[method]
        if method == "POST":
            request.refuse_forgeries()
        if not self._service.wait_until_started() and handler != self._status:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "Orthanc is still starting")
        handler(request, output)

    def _refuse(
        self, output: RestOutput, uri: str, raw: Mapping[str, Any], error: HttpError
    ) -> None:
        answer = {
            "HttpError": error.status.phrase,
            "HttpStatus": int(error.status),
            "Message": str(error),
            "Method": raw["method"],
            "Uri": uri,
        }
        if error.status is HTTPStatus.SERVICE_UNAVAILABLE:
            output.SetHttpHeader("Retry-After", str(_RETRY_AFTER_S))
        answer_error(output, int(error.status), answer)

    def _in_terms_of_http(self, error: Exception, uri: str) -> HttpError:
        if isinstance(error, HttpError):
            return error
        for kind, status in _STATUS.items():
            if isinstance(error, kind):
                return HttpError(status, str(error))
        fault = fault_of_ours(error)
        self._service.orthanc.log_error(f"{uri}: {fault}")
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, fault)

    def _status(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.status())

    def _app(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(self._pages["app"], _HTML)

    def _openapi(self, request: Request, output: RestOutput) -> None:
        answer_json(output, openapi(self._described))

    def _review_page(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(self._pages["review"], _HTML)

    def _slices(self, request: Request, output: RestOutput) -> None:
        """With the user's name, which only Orthanc knows, and the series' last job."""
        shown = self._service.slices(request.id)
        if job := shown["Job"]:
            shown["Job"] = self._with_what_came_of_it([job])[0]
        answer_json(output, {"User": request.user} | shown)

    def _outlines(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.outlines(request.id))

    def _outline(self, request: Request, output: RestOutput) -> None:
        rtstruct, roi = request.query.get("rtstruct", ""), request.query.get("roi", "")
        text = self._service.outline(request.id, rtstruct, roi)
        output.AnswerBuffer(text, "application/json")

    def _unsure(self, request: Request, output: RestOutput) -> None:
        text = json.dumps(self._service.unsure(request.id), separators=(",", ":"))
        output.AnswerBuffer(text, "application/json")

    def _decide(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.review(request.id, request.fields(), request.user))

    def _cuts(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.cuts(request.id))

    def _cut(self, request: Request, output: RestOutput) -> None:
        asked = request.fields(_MAX_CUT_BYTES)
        answer_json(output, self._service.cut(request.id, asked, request.user))

    def _quality(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(quality_table(self._service.quality.rows()), CSV)

    def _quality_chart(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.quality.charts())

    def _quality_page(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(self._pages["quality"], _HTML)

    def _metrics(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(self._service.metrics(), CONTENT_TYPE)

    def _try_filter(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.try_filter())

    def _segment_series(self, request: Request, output: RestOutput) -> None:
        job = self._service.segment_series(request.id, force=request.force)
        answer_json(output, _reference(job))

    def _segment_study(self, request: Request, output: RestOutput) -> None:
        jobs = self._service.segment_study(request.id, force=request.force)
        answer_json(output, [_reference(job) for job in jobs])

    def _preview(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(read_preview(self._service.orthanc, request.id), "image/png")

    def _activity(self, request: Request, output: RestOutput) -> None:
        """As JSON, or as the sheet that the command line prints."""
        activity, stored = self._service.activity(request.id, request.fields())
        if request.wants_text:
            told = [f"stored: {one['Kind']}, instance {one['Instance']}\n" for one in stored]
            output.AnswerBuffer("".join([activity.as_text(), *told]), "text/plain; charset=utf-8")
        else:
            answer_json(output, activity.as_json() | ({"Stored": stored} if stored else {}))

    def _activity_form(self, request: Request, output: RestOutput) -> None:
        answer_json(output, form())

    def _jobs(self, request: Request, output: RestOutput) -> None:
        """With ?expand the jobs themselves; with ?series=ID or ?study=ID only theirs."""
        wanted = {
            name: request.identifier(name) for name in ("series", "study") if name in request.query
        }
        if "expand" not in request.query:
            answer_json(output, self._service.queue.ids(**wanted))
        elif wanted:
            answer_json(output, self._expanded(**wanted))
        else:
            output.AnswerBuffer(self._all_jobs.get(), "application/json")

    def _expanded(self, **wanted: str) -> list[dict[str, Any]]:
        return self._with_what_came_of_it(self._service.queue.show_all(**wanted))

    def _queue(self, request: Request, output: RestOutput) -> None:
        """By pages, with what is on its way in."""
        queue, asked = self._service.queue, queue_asked(request.query)
        view = queue_view(queue.in_order(), queue.finished(), asked, self._shown)
        answer_json(output, view | {"Arriving": self._service.arriving.show()})

    def _shown(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        return self._with_what_came_of_it([job.as_json() for job in jobs])

    def _with_what_came_of_it(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        deliveries = self._service.deliveries.show_by_job(job["ID"] for job in jobs)
        reviews = self._service.reviews
        return [
            job
            | {
                "Content": job["Content"]
                | {"Deliveries": deliveries[job["ID"]], "Review": reviews.show(job)}
            }
            for job in jobs
        ]

    def _job(self, request: Request, output: RestOutput) -> None:
        job = self._service.queue.show(request.id)
        answer_json(output, self._with_what_came_of_it([job])[0])

    def _cancel(self, request: Request, output: RestOutput) -> None:
        by = "" if request.user == NOBODY else request.user
        self._service.cancel(request.id, by)
        answer_json(output, {})

    def _put_first(self, request: Request, output: RestOutput) -> None:
        self._service.queue.put_first(request.id)
        answer_json(output, {})

    def _resubmit(self, request: Request, output: RestOutput) -> None:
        self._service.queue.resubmit(request.id)
        answer_json(output, {})

    def _deliver(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.deliver_again(request.id))

    def _deliveries(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.deliveries.show_all())

    def _backfill(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.ask_backfill(request.fields(_MAX_LIST_BYTES)))

    def _cancel_backfill(self, request: Request, output: RestOutput) -> None:
        self._service.cancel_backfill()
        answer_json(output, {})

    def _pull(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.show_pull())

    def _ask_pull(self, request: Request, output: RestOutput) -> None:
        asked = request.fields(_MAX_LIST_BYTES)
        answer_json(output, self._service.ask_pull(asked, request.user))

    def _cancel_pull(self, request: Request, output: RestOutput) -> None:
        self._service.cancel_pull()
        answer_json(output, {})

    def _cancel_delivery(self, request: Request, output: RestOutput) -> None:
        self._service.deliveries.cancel(request.id)
        answer_json(output, {})


def _page(name: str) -> str:
    """A page with its script, style and texts in it: its address may end in a slash, or not."""

    def content(named: re.Match[str]) -> str:
        text = (_FOLDER / named[2]).read_text(encoding="utf-8")
        return f"<{named[1]}>\n{text}</{named[1]}>"

    page = (_FOLDER / f"{name}.html").read_text(encoding="utf-8")
    page = re.sub(r"<!-- (script|style) (\S+) -->", content, page)
    return page.replace("<!-- texts -->", f"<script>const TEXTS = {_texts()};</script>")


def _texts() -> str:
    """What the pages say in other languages than English; a language is a file."""
    files = sorted((_FOLDER / "texts").glob("*.json"))
    tables = {one.stem: json.loads(one.read_text(encoding="utf-8")) for one in files}
    return json.dumps(tables).replace("<", "\\u003c")


def _reference(job: Job) -> dict[str, Any]:
    """IsDone: nothing new would come of it, this job of the same images has ended already."""
    done = job.state not in UNFINISHED
    return {"ID": job.id, "Path": f"/liver/jobs/{job.id}", "IsDone": done}
