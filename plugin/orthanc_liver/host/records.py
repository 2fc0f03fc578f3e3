"""What is written in Orthanc, which is the only database.

On a series, metadata 4501: {"Job": the job that ended last, "Result": the RTSTRUCT stored last};
attachment 4502: the preview picture. For the whole server, global property 4501: where we are in
Orthanc's change log, the jobs that are not finished, and where to find those that are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from orthanc_liver.host.jobs import Job, Outcome
from orthanc_liver.host.orthanc_api import Missing, Orthanc

STATE_PROPERTY = 4501
RECORD_METADATA = 4501
PREVIEW_ATTACHMENT = 4502

# What the same instances and model would only come to again.
_SETTLED = frozenset({Outcome.SEGMENTED, Outcome.NO_LIVER, Outcome.REFUSED})


@dataclass(frozen=True)
class Record:
    """What a series says of its last job and of its last result."""

    job: Job
    result: dict[str, Any] | None

    def settles(self, source_key: str, model_sha256: str) -> bool:
        """Whether running these instances through this model again could bring nothing new."""
        model = (self.job.model or {}).get("Sha256", "")
        return (
            self.job.outcome in _SETTLED
            and self.job.source_key == source_key
            and model == model_sha256
        )


@dataclass
class ServerState:
    """What must outlive a restart. seq is None before the very first start."""

    seq: int | None = None
    unfinished: list[Job] = field(default_factory=list)
    finished: dict[str, str] = field(default_factory=dict)  # job id: series id, oldest first


def read_record(orthanc: Orthanc, series_id: str) -> Record | None:
    """What the series says, None where it says nothing."""
    try:
        record = orthanc.get(f"/series/{series_id}/metadata/{RECORD_METADATA}")
    except Missing:
        return None
    return Record(Job.from_json(record["Job"]), record["Result"])


def write_record(orthanc: Orthanc, job: Job) -> None:
    """Leave a finished job on its series; the result of an earlier job stays unless replaced."""
    before = read_record(orthanc, job.series)
    result = before.result if before else None
    if job.result:
        result = {**job.result, "Job": job.id, "SourceKey": job.source_key, "Model": job.model}
    text = json.dumps({"Job": job.as_json(), "Result": result})
    orthanc.put(f"/series/{job.series}/metadata/{RECORD_METADATA}", text.encode())


def write_preview(orthanc: Orthanc, series_id: str, png: bytes) -> None:
    """Leave the picture on the series."""
    orthanc.put(f"/series/{series_id}/attachments/{PREVIEW_ATTACHMENT}", png)


def read_preview(orthanc: Orthanc, series_id: str) -> bytes:
    """The picture of the series; Missing where there is none."""
    return orthanc.get_bytes(f"/series/{series_id}/attachments/{PREVIEW_ATTACHMENT}/data")


def read_state(orthanc: Orthanc) -> ServerState:
    """What the server kept, an empty state before the very first start."""
    text = orthanc.property(STATE_PROPERTY)
    if not text:
        return ServerState()
    kept = json.loads(text)
    return ServerState(
        kept["Seq"], [Job.from_json(job) for job in kept["Unfinished"]], kept["Finished"]
    )


def write_state(orthanc: Orthanc, state: ServerState) -> None:
    """Keep the state in Orthanc's database."""
    kept = {
        "Seq": state.seq,
        "Unfinished": [job.as_json() for job in state.unfinished],
        "Finished": state.finished,
    }
    orthanc.set_property(STATE_PROPERTY, json.dumps(kept))
