"""A job, its states and how it looks to a client: the names and the shape of Orthanc's own /jobs.

One job is one series segmented once. A running job that is interrupted through no fault of its
own (Orthanc stops, the engine cannot start, the series is still arriving) is pending again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orthanc_liver.engine.protocol import DOUBTFUL, Outcome, percent_done
from orthanc_liver.host.errors import NotAllowed
from orthanc_liver.host.server.times import text_of

JOB_TYPE = "LiverSegmentation"


class State(StrEnum):
    """Orthanc's job states, without Paused."""

    PENDING = "Pending"
    RUNNING = "Running"
    RETRY = "Retry"
    SUCCESS = "Success"
    FAILURE = "Failure"


class Event(StrEnum):
    """What may happen to a job."""

    START = "start"
    INTERRUPT = "interrupt"
    TRY_AGAIN = "try again"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    RESUBMIT = "resubmit"


# What is not here is not allowed.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PENDING, Event.START): State.RUNNING,
    (State.PENDING, Event.CANCEL): State.FAILURE,
    (State.RUNNING, Event.INTERRUPT): State.PENDING,
    (State.RUNNING, Event.TRY_AGAIN): State.RETRY,
    (State.RUNNING, Event.SUCCEED): State.SUCCESS,
    (State.RUNNING, Event.FAIL): State.FAILURE,
    (State.RUNNING, Event.CANCEL): State.FAILURE,
    (State.RETRY, Event.START): State.RUNNING,
    (State.RETRY, Event.CANCEL): State.FAILURE,
    (State.FAILURE, Event.RESUBMIT): State.PENDING,
}

UNFINISHED = frozenset({State.PENDING, State.RUNNING, State.RETRY})
WAITING = frozenset({State.PENDING, State.RETRY})

# Orthanc's numbers for the ways in which a job ends.
_ERROR_CODES = {
    Outcome.SEGMENTED: 0,
    Outcome.NO_LIVER: 0,
    Outcome.REFUSED: 15,  # bad file format
    Outcome.FAILED: -1,  # internal error
    Outcome.CANCELLED: 37,  # canceled job
}


def kinds_by_instance(result: Mapping[str, Any]) -> dict[str, str]:
    """Of which kind each of a result's objects is, by Orthanc's id, the RTSTRUCT first; any client
    may have written it."""
    further = result.get("Further")
    others = further if isinstance(further, list) else []
    named = [one for one in [result, *others] if isinstance(one, Mapping)]
    pairs = [(one.get("Instance"), one.get("Kind", "")) for one in named]
    return {one: kind for one, kind in pairs if isinstance(one, str) and isinstance(kind, str)}


def instances_by_kind(result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A result's objects, those of one kind together, each alone where no kind is told."""
    together: list[tuple[str, list[str]]] = []
    for instance, kind in kinds_by_instance(result).items():
        if kind and together and together[-1][0] == kind:
            together[-1][1].append(instance)
        else:
            together.append((kind, [instance]))
    return together


def instances_of(result: Mapping[str, Any]) -> list[str]:
    """Orthanc's ids of a result's objects, the RTSTRUCT first."""
    return list(kinds_by_instance(result))


@dataclass
class Job:
    """One series to segment. Times are UTC; source_key names the set of source instances.

    source_updated: when the last of them had come, as the job read them; files_key: what their
    files were, empty as long as not all are read. Jobs of 0.1.0 have neither.
    intended_uids: what was about to be stored, and may be in Orthanc although result is empty.
    """

    series: str
    study: str
    source_key: str
    force: bool = False
    priority: int = 0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = State.PENDING
    started: datetime | None = None
    completed: datetime | None = None
    attempt: int = 0
    stage: str = ""
    progress_percent: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    model: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    intended_uids: list[str] = field(default_factory=list)
    source_updated: datetime | None = None
    files_key: str = ""

    @property
    def grade(self) -> str | None:
        """How its outline is to be taken; jobs of earlier versions have none."""
        return (self.report or {}).get("grade")

    @property
    def ending(self) -> str:
        """How it ended, a doubtful outline told apart; empty as long as it has not."""
        if self.outcome is Outcome.SEGMENTED and self.grade == DOUBTFUL:
            return DOUBTFUL
        return str(self.outcome or "")

    @property
    def rtstruct(self) -> str:
        """Orthanc's id of the outline, which is in every result."""
        return str((self.result or {})["Instance"])

    @property
    def rtstruct_uid(self) -> str:
        """The same as SOP Instance UID."""
        return str((self.result or {})["SopInstanceUid"])

    @property
    def result_instances(self) -> list[str]:
        """Orthanc's ids of every object that the job stored; these are what is sent on."""
        return instances_of(self.result) if self.result else []

    def apply(self, event: Event) -> None:
        """Go to the next state; NotAllowed where the table has none."""
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise NotAllowed(f"a job in state {self.state} cannot {event}")
        before, self.state = self.state, following
        now = datetime.now(UTC)
        match event:
            case Event.START:
                if before is State.PENDING:
                    self.reason = ""  # for which it waited
                self.started, self.stage, self.progress_percent = now, "", 0
                self.attempt += 1
            case Event.INTERRUPT:
                self.attempt = max(self.attempt - 1, 0)
            case Event.RESUBMIT:
                self.completed = self.outcome = self.model = self.report = None
                self.attempt, self.progress_percent, self.reason = 0, 0, ""
            case Event.SUCCEED | Event.FAIL | Event.CANCEL:
                self.completed, self.stage = now, ""

    def show_progress(self, stage: str, fraction: float) -> None:
        """Note how far the engine is within one of STAGES; the client never sees it go back."""
        self.stage = stage
        self.progress_percent = min(max(self.progress_percent, percent_done(stage, fraction)), 99)

    def as_json(self) -> dict[str, Any]:
        """The job as Orthanc would show one of its own."""
        ended = self.completed or datetime.now(UTC)
        runtime_s = (ended - self.started).total_seconds() if self.started else 0.0
        shown: dict[str, Any] = {
            "ID": self.id,
            "Type": JOB_TYPE,
            "State": str(self.state),
            "Progress": 100 if self.state is State.SUCCESS else self.progress_percent,
            "Priority": self.priority,
            "CreationTime": text_of(self.created),
            "Timestamp": text_of(datetime.now(UTC)),
            "EffectiveRuntime": round(runtime_s, 3),
            "ErrorCode": _ERROR_CODES[self.outcome] if self.outcome else 0,
            "ErrorDescription": self._error_description(),
            "ErrorDetails": "" if self.state is State.SUCCESS else self.reason,
            "Content": self._content(),
        }
        if self.started:
            shown["StartTime"] = text_of(self.started)
        if self.completed:
            shown["CompletionTime"] = text_of(self.completed)
        return shown

    def facts_of_end(self) -> dict[str, Any]:
        """What the log tells of a job that ended: never its reason, which may be long."""
        shown = self.as_json()
        return {
            "Job": self.id,
            "Series": self.series,
            "Outcome": str(self.outcome),
            "LiverMl": (self.report or {}).get("liver_ml"),
            "Grade": self.grade,
            "Seconds": shown["EffectiveRuntime"],
            "Attempt": self.attempt,
            "Model": (self.model or {}).get("Name"),
            "Sha256": (self.model or {}).get("Sha256"),
        }

    def _error_description(self) -> str:
        # Orthanc says "Success" also of a job that has not ended yet.
        return self.reason if self.reason and self.state is not State.SUCCESS else "Success"

    def _content(self) -> dict[str, Any]:
        return {
            "Series": self.series,
            "Study": self.study,
            "SourceKey": self.source_key,
            "Force": self.force,
            "Attempt": self.attempt,
            "Stage": self.stage,
            "Outcome": str(self.outcome or ""),
            "Ending": self.ending,
            "Reason": self.reason,
            "Model": self.model,
            "Result": self.result,
            "Report": self.report,
        }
