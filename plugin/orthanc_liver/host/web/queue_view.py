"""The queue as the page shows it: what runs, what waits in its order, what is finished."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus

from orthanc_liver.engine.protocol import DOUBTFUL, Outcome
from orthanc_liver.host.jobs.job import Job, State
from orthanc_liver.host.web.request import HttpError
from orthanc_liver.identifiers import RESOURCE

WORDS = (Outcome.SEGMENTED, DOUBTFUL, *(one for one in Outcome if one is not Outcome.SEGMENTED))
_ON_A_PAGE = 20
MOST_STUDIES = 100

Shown = list[dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """What of the queue somebody wants to see; studies: none for all of them."""

    studies: frozenset[str]
    outcome: str
    waiting: int
    finished: int

    def has(self, job: Job) -> bool:
        """Whether the job is of one of the studies."""
        return not self.studies or job.study in self.studies


def queue_asked(query: Mapping[str, str]) -> Asked:
    """What a request's query means; HttpError for what means nothing."""
    # Orthanc 1.10 leaves them as the browser wrote them.
    query = {name: unquote_plus(value) for name, value in query.items()}
    studies = frozenset(filter(None, query.get("study", "").split(",")))
    if len(studies) > MOST_STUDIES or not all(re.fullmatch(RESOURCE, one) for one in studies):
        raise _wrong(f"study must be at most {MOST_STUDIES} identifiers of studies")
    outcome = query.get("outcome", "")
    if outcome not in ("", *WORDS):
        raise _wrong(f"outcome must be one of: {', '.join(WORDS)}")
    return Asked(studies, outcome, _page(query, "waiting"), _page(query, "finished"))


def queue_view(
    unfinished: Iterable[Job],
    finished: Iterable[Job],
    asked: Asked,
    show: Callable[[Iterable[Job]], Shown],
) -> dict[str, Any]:
    """unfinished: in the order in which they run; finished: newest first. show: them as JSON."""
    numbered = list(enumerate((one for one in unfinished if one.state is not State.RUNNING), 1))
    waiting = [(place, one) for place, one in numbered if asked.has(one)]
    ended = [one for one in finished if asked.has(one)]
    wanted = [one for one in ended if asked.outcome in ("", one.ending)]
    page, places = _cut(waiting, asked.waiting)
    shown = show(job for _, job in page)
    for job, (place, _) in zip(shown, page, strict=True):
        job["Place"] = place
    cut, pages = _cut(wanted, asked.finished)
    running = (one for one in unfinished if one.state is State.RUNNING and asked.has(one))
    return {
        "Running": show(running),
        "Waiting": {"All": len(numbered), "Total": len(waiting), **places, "Jobs": shown},
        "Finished": {"Total": len(wanted), **pages, "Jobs": show(cut)},
        "Outcomes": Counter(job.ending for job in ended),
    }


def _cut(every: list[Any], page: int) -> tuple[list[Any], dict[str, int]]:
    pages = max(-(-len(every) // _ON_A_PAGE), 1)
    page = min(page, pages)
    shown = every[(page - 1) * _ON_A_PAGE : page * _ON_A_PAGE]
    return shown, {"Page": page, "Pages": pages}


def _page(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "1")
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise _wrong(f"{name} must be the number of a page")
    return int(text)


def _wrong(message: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, message)
