"""The REST routes, in the manner of Orthanc's own: the same job JSON, the same error JSON.

Nothing else knows of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from orthanc_liver.host.delivery.deliveries import Deliveries
from orthanc_liver.host.errors import (
    Conflict,
    HostError,
    NotOurs,
    NotRunning,
    Refused,
    Unknown,
    fault_of_ours,
)
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import read_preview
from orthanc_liver.host.server.api import (
    Missing,
    Orthanc,
    RestOutput,
    ServerStopping,
    answer_error,
    answer_json,
)
from orthanc_liver.host.server.identifiers import JOB, RESOURCE
from orthanc_liver.host.server.untrusted_json import TooDeeplyNested, parse_clients_json
from orthanc_liver.host.web.metrics import CONTENT_TYPE
from orthanc_liver.sirt.inputs import ActivityRefused

_MAX_BODY_BYTES = 4096
_MAX_BACKFILL_BYTES = 200_000  # room for the identifiers of the most studies that are taken
_RESOURCE, _JOB = f"({RESOURCE})", f"({JOB})"


class Service(Protocol):
    """What the routes need of the plugin."""

    orthanc: Orthanc
    queue: JobQueue
    deliveries: Deliveries

    def wait_until_started(self) -> bool: ...
    def status(self) -> dict[str, Any]: ...
    def metrics(self) -> str: ...
    def segment_series(self, series_id: str, *, force: bool) -> Job: ...
    def segment_study(self, study_id: str, *, force: bool) -> list[Job]: ...
    def cancel(self, job_id: str) -> None: ...
    def ask_backfill(self, asked: Mapping[str, Any]) -> dict[str, Any] | None: ...
    def cancel_backfill(self) -> None: ...
    def deliver_again(self, job_id: str) -> list[dict[str, Any]]: ...
    def activity(self, series_id: str, asked: Mapping[str, Any]) -> dict[str, Any]: ...


class HttpError(Exception):
    """What the client is told instead of an answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


# What the client is told of the domain's errors; the first row that an error belongs to counts.
_STATUS: dict[type[Exception], HTTPStatus] = {
    Refused: HTTPStatus.BAD_REQUEST,
    ActivityRefused: HTTPStatus.BAD_REQUEST,
    Unknown: HTTPStatus.NOT_FOUND,
    Missing: HTTPStatus.NOT_FOUND,
    NotOurs: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    NotRunning: HTTPStatus.SERVICE_UNAVAILABLE,
    ServerStopping: HTTPStatus.SERVICE_UNAVAILABLE,
    HostError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Request:
    """One call of one route."""

    def __init__(self, groups: tuple[str, ...], raw: Mapping[str, Any]) -> None:
        self.id = groups[0] if groups else ""
        self.query: Mapping[str, str] = raw.get("get", {})
        self._body: bytes = raw.get("body", b"")

    @property
    def force(self) -> bool:
        """What a body of {"Force": true} asks for; HttpError for any other body than that."""
        if not self._body:
            return False
        body = self._json()
        if not isinstance(body, dict) or not set(body) <= {"Force"}:
            raise HttpError(
                HTTPStatus.BAD_REQUEST, 'the body may be empty or {"Force": true}, nothing else'
            )
        force = body.get("Force", False)
        if not isinstance(force, bool):
            raise HttpError(HTTPStatus.BAD_REQUEST, "Force must be true or false")
        return force

    def fields(self, max_bytes: int = _MAX_BODY_BYTES) -> dict[str, Any]:
        """The body's JSON object; HttpError for any other body."""
        body = self._json(max_bytes)
        if not isinstance(body, dict):
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        return body

    def _json(self, max_bytes: int = _MAX_BODY_BYTES) -> Any:
        if len(self._body) > max_bytes:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body is too long")
        try:
            return parse_clients_json(self._body)
        except TooDeeplyNested:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body is too deeply nested") from None
        except ValueError:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None


Handler = Callable[[Request, RestOutput], None]


class Routes:
    """Everything below /liver/."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._page = Path(__file__).with_name("app.html").read_text(encoding="utf-8")
        table: list[tuple[str, str, Handler]] = [
            ("GET", "status", self._status),
            ("GET", "app", self._app),
            ("GET", "metrics", self._metrics),
            ("POST", f"series/{_RESOURCE}/segment", self._segment_series),
            ("POST", f"studies/{_RESOURCE}/segment", self._segment_study),
            ("GET", f"series/{_RESOURCE}/preview", self._preview),
            ("POST", f"series/{_RESOURCE}/activity", self._activity),
            ("GET", "jobs", self._jobs),
            ("GET", f"jobs/{_JOB}", self._job),
            ("POST", f"jobs/{_JOB}/cancel", self._cancel),
            ("POST", f"jobs/{_JOB}/resubmit", self._resubmit),
            ("POST", f"jobs/{_JOB}/deliver", self._deliver),
            ("GET", "deliveries", self._deliveries),
            ("POST", f"deliveries/{_JOB}/cancel", self._cancel_delivery),
            ("POST", "backfill", self._backfill),
            ("POST", "backfill/cancel", self._cancel_backfill),
        ]
        self._table = [(method, re.compile(path), handler) for method, path, handler in table]

    def answer(self, output: RestOutput, uri: str, **raw: Any) -> None:
        """Orthanc's REST callback for /liver/(.*)."""
        try:
            self._dispatch(output, raw)
        except HttpError as error:
            self._refuse(output, uri, raw, error)
        except Exception as error:  # noqa: BLE001 a slip of ours is answered too, and not by 404
            self._refuse(output, uri, raw, self._in_terms_of_http(error, uri))

    def _dispatch(self, output: RestOutput, raw: Mapping[str, Any]) -> None:
        path = raw["groups"][0].rstrip("/")
        fits = {
            method: (handler, found.groups())
            for method, pattern, handler in self._table
            if (found := pattern.fullmatch(path))
        }
        if not fits:
            raise HttpError(HTTPStatus.NOT_FOUND, "there is no such resource")
        if raw["method"] not in fits:
            # Orthanc's core lets nobody send a body with 405, and sends none itself.
            output.SendMethodNotAllowed(", ".join(fits))
            return
        handler, groups = fits[raw["method"]]
        if not self._service.wait_until_started() and handler != self._status:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "Orthanc is still starting")
        handler(Request(groups, raw), output)

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
        answer_error(output, int(error.status), answer)

    def _in_terms_of_http(self, error: Exception, uri: str) -> HttpError:
        for kind, status in _STATUS.items():
            if isinstance(error, kind):
                return HttpError(status, str(error))
        fault = fault_of_ours(error)
        self._service.orthanc.log_error(f"{uri}: {fault}")
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, fault)

    def _status(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.status())

    def _app(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(self._page, "text/html; charset=utf-8")

    def _metrics(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(self._service.metrics(), CONTENT_TYPE)

    def _segment_series(self, request: Request, output: RestOutput) -> None:
        job = self._service.segment_series(request.id, force=request.force)
        answer_json(output, _reference(job))

    def _segment_study(self, request: Request, output: RestOutput) -> None:
        jobs = self._service.segment_study(request.id, force=request.force)
        answer_json(output, [_reference(job) for job in jobs])

    def _preview(self, request: Request, output: RestOutput) -> None:
        output.AnswerBuffer(read_preview(self._service.orthanc, request.id), "image/png")

    def _activity(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.activity(request.id, request.fields()))

    def _jobs(self, request: Request, output: RestOutput) -> None:
        """With ?expand the jobs themselves; with ?series=ID or ?study=ID only theirs."""
        wanted = {"Series": request.query.get("series"), "Study": request.query.get("study")}
        jobs = [
            job
            for job in self._service.queue.show_all()
            if all(job["Content"][key] == value for key, value in wanted.items() if value)
        ]
        if "expand" not in request.query:
            answer_json(output, [job["ID"] for job in jobs])
            return
        deliveries = self._service.deliveries.show_by_job()
        answer_json(output, [_with_deliveries(job, deliveries) for job in jobs])

    def _job(self, request: Request, output: RestOutput) -> None:
        job = self._service.queue.show(request.id)
        answer_json(output, _with_deliveries(job, self._service.deliveries.show_by_job()))

    def _cancel(self, request: Request, output: RestOutput) -> None:
        self._service.cancel(request.id)
        answer_json(output, {})

    def _resubmit(self, request: Request, output: RestOutput) -> None:
        self._service.queue.resubmit(request.id)
        answer_json(output, {})

    def _deliver(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.deliver_again(request.id))

    def _deliveries(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.deliveries.show_all())

    def _backfill(self, request: Request, output: RestOutput) -> None:
        answer_json(output, self._service.ask_backfill(request.fields(_MAX_BACKFILL_BYTES)))

    def _cancel_backfill(self, request: Request, output: RestOutput) -> None:
        self._service.cancel_backfill()
        answer_json(output, {})

    def _cancel_delivery(self, request: Request, output: RestOutput) -> None:
        self._service.deliveries.cancel(request.id)
        answer_json(output, {})


def _with_deliveries(
    job: dict[str, Any], deliveries: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    return job | {"Content": job["Content"] | {"Deliveries": deliveries.get(job["ID"], [])}}


def _reference(job: Job) -> dict[str, str]:
    return {"ID": job.id, "Path": f"/liver/jobs/{job.id}"}
