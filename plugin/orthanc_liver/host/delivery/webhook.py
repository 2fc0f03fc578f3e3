"""Tells a server of the hospital's by HTTP how jobs ended, and where outlines have become worse:
identifiers and figures, no patient."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import keep_notices, read_notices
from orthanc_liver.host.server.api import Orthanc
from orthanc_liver.host.server.background import Background
from orthanc_liver.host.server.times import text_of
from orthanc_liver.host.server.waits import growing_wait_s

_TIMEOUT_S = 10.0
_IDLE_S = 60.0
_MOST = 1000

Post = Callable[[SplitResult, bytes, Mapping[str, str]], int]


class Webhook:
    """Keeps what is to be told until it was, over a restart too; in the order in which it was.

    setting: {"Url", "Secret"}, or empty, and then nothing is told. post: returns the HTTP status.
    """

    def __init__(
        self, orthanc: Orthanc, setting: Mapping[str, str], post: Post | None = None
    ) -> None:
        self._orthanc = orthanc
        self._url = urlsplit(setting.get("Url", ""))
        self._secret = setting.get("Secret", "").encode()
        self._post = post or _posted
        self._notices: list[dict[str, Any]] = []
        self._failures = 0  # in a row
        self._not_before_s = 0.0
        self._lock = threading.Lock()
        self.thread = Background("webhook", orthanc, self._turn)

    def restore(self) -> None:
        """Take up what was not told; StateUnreadable where what is kept is not ours."""
        with self._lock:
            self._notices = read_notices(self._orthanc) if self._secret else []

    def note(self, job: Job) -> None:
        """A job ended; a person who cancels one knows that already."""
        if job.outcome is not Outcome.CANCELLED:
            self.tell(notice_of(job))

    def tell(self, notice: dict[str, Any]) -> None:
        """Something happened: identifiers and figures, no patient."""
        if not self._secret:
            return
        with self._lock:
            self._notices = [*self._notices, notice][-_MOST:]
            keep_notices(self._orthanc, self._notices)
        self.thread.wake()

    def count(self) -> int:
        """How many notices wait."""
        with self._lock:
            return len(self._notices)

    def _turn(self) -> float:
        wait_s = self._not_before_s - time.monotonic()
        if wait_s > 0:
            return wait_s
        with self._lock:
            first = self._notices[0] if self._notices else None
        if first is None:
            return _IDLE_S
        if problem := self._problem_telling(first):
            if not self._failures:
                self._orthanc.log_error(f"the webhook is called again until it answers: {problem}")
            wait_s = growing_wait_s(self._failures)
            self._failures += 1
            self._not_before_s = time.monotonic() + wait_s
            return wait_s
        self._failures = 0
        with self._lock:
            self._notices = [one for one in self._notices if one is not first]
            keep_notices(self._orthanc, self._notices)
        return 0.0

    def _problem_telling(self, notice: Mapping[str, Any]) -> str:
        body = json.dumps(notice).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Liver-Signature": f"sha256={signature(self._secret, body)}",
        }
        try:
            status = self._post(self._url, body, headers)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__  # its text may hold the address
        return "" if 200 <= status < 300 else f"it answered {status}"


def notice_of(job: Job) -> dict[str, Any]:
    """What is told of a job that ended: the same of the same job, so that twice is seen."""
    report = job.report or {}
    return {
        "Job": job.id,
        "Event": job.ending,
        "Series": job.series,
        "Study": job.study,
        "LiverMl": report.get("liver_ml"),
        "Time": text_of(job.completed) if job.completed else None,
    }


def signature(secret: bytes, body: bytes) -> str:
    """By which the receiver knows that we wrote the body: HMAC with SHA-256, in hexadecimal."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def _posted(url: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    """Not by urllib, which would follow to wherever an answer leads."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_TIMEOUT_S)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, body, dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()
