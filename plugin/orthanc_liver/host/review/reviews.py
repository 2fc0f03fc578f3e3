"""What people decided: asked for, kept on the series, and known of the jobs that are shown."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from orthanc_liver.host.errors import NoResult, NotAllowed, ReviewRefused
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.review.review import NAME_CHARS, NAME_WANTED, Review, Verdict, is_line

NOBODY = "-"
NOT_THE_OUTLINE = (
    "Rtstruct is not the outline of the last job: look at that one first; it is Orthanc's id of "
    "the RTSTRUCT's instance, Content.Result.Instance of the job"
)


class Reviews:
    """Shared by Orthanc's threads and the worker."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last: dict[str, Review] = {}  # by series, as far as they were read
        self._counted: Counter[Verdict] = Counter()
        self._lock = threading.RLock()

    def standing_still(self) -> AbstractContextManager[object]:
        """Meanwhile no other thread decides anything."""
        return self._lock

    def restore(self, series_ids: Iterable[str]) -> None:
        """Read what is known of these series."""
        for series_id in dict.fromkeys(series_ids):
            self._read(series_id)

    def add(self, review: Review) -> None:
        """Keep it on its series; OrthancError where that is not possible, and then nothing is."""
        with self._lock:
            self.write_again(review)
            self._counted[review.verdict] += 1

    def write_again(self, review: Review) -> None:
        """Keep what was decided and counted before; errors as for add."""
        with self._lock:
            self._ledger.record_review(review)
            self._last[review.series] = review

    def show(self, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """The last word on the result of a job, which is given as JSON."""
        result = job["Content"]["Result"]
        review = result and self._known(job["Content"]["Series"], result.get("Instance"))
        return review.as_json() if review else None

    def count(self) -> dict[str, int]:
        """How many there were of each verdict since Orthanc started."""
        return {str(verdict): self._counted[verdict] for verdict in Verdict}

    def _known(self, series_id: str, rtstruct: str) -> Review | None:
        last = self._last.get(series_id)
        return last if last and last.rtstruct == rtstruct else None

    def _read(self, series_id: str) -> None:
        reviews = self._ledger.read_reviews(series_id)
        if reviews:
            self._last[series_id] = reviews[-1]
        else:
            self._last.pop(series_id, None)


def person_asking(asked: Mapping[str, Any], user: str) -> tuple[str, bool]:
    """Whose work is asked for, and whether that is only a name that was typed; user: whom Orthanc
    knows, or NOBODY. ReviewRefused where nobody is named."""
    by = asked.get("By", "")
    if user != NOBODY and by not in ("", user):
        raise ReviewRefused("Orthanc knows who asks: leave By out")
    name = by if user == NOBODY else user
    if not isinstance(name, str) or not is_line(name, NAME_CHARS):
        raise ReviewRefused(NAME_WANTED)
    return name.strip(), user == NOBODY


def review_asked(job: Job | None, asked: Mapping[str, Any], user: str) -> Review:
    """The review that a request's body means; user: whom Orthanc knows, or NOBODY.

    ReviewRefused for what is none, NoResult or NotAllowed where the job has no such outline.
    """
    words = {name: asked.get(name, "") for name in ("Verdict", "Reason", "By", "Rtstruct")}
    if set(asked) - set(words) or not all(isinstance(one, str) for one in words.values()):
        raise ReviewRefused(f"the body holds texts only: {', '.join(words)}")
    if words["Verdict"] not in tuple(Verdict):
        raise ReviewRefused(f"Verdict must be one of: {', '.join(Verdict)}")
    by, is_typed = person_asking(asked, user)
    if job is None or not job.result:
        raise NoResult("the series' last job left no outline to decide on")
    if words["Rtstruct"] != job.rtstruct:
        raise NotAllowed(NOT_THE_OUTLINE)
    review = Review(
        series=job.series,
        job=job.id,
        rtstruct=words["Rtstruct"],
        verdict=Verdict(words["Verdict"]),
        reason=words["Reason"].strip(),
        by=by,
        is_typed=is_typed,
        time=datetime.now(UTC),
    )
    if review.problem:
        raise ReviewRefused(review.problem)
    return review
