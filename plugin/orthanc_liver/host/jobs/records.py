"""What is written in Orthanc, which is the only database.

On a series, metadata 4501: {"Job": the job that ended last, "Result": the RTSTRUCT stored last};
attachment 4502: the preview picture. For the whole server, global property 4501: where we are in
Orthanc's change log, the jobs that are not finished, and where to find those that are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.untrusted_json import parse_clients_json

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
        return (
            self.job.outcome in _SETTLED
            and self.job.source_key == source_key
            and self.job.model is not None
            and self.job.model["Sha256"] == model_sha256
        )


@dataclass
class ServerState:
    """What must outlive a restart. Orthanc's change log is done with up to seq.

    unfinished: also the finished jobs that could not be noted on their series.
    """

    seq: int
    unfinished: list[Job] = field(default_factory=list)
    finished: list[Job] = field(default_factory=list)


class StateUnreadable(Exception):
    """str(error) says where and why."""


class Ledger:
    """Writes into Orthanc. What cannot be written (a full disk) is logged, not raised: the jobs in
    memory go on, and whoever called hears that it must be written again."""

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc

    def read_state(self, at_first: int) -> ServerState:
        """What the server kept; at the very first start, nothing, and the log is at at_first.

        Raises StateUnreadable where what is kept is not ours, and then leaves it as it is.
        """
        text = self._orthanc.property(STATE_PROPERTY)
        if not text:
            return ServerState(at_first)
        try:
            kept = json.loads(text)
            unfinished = [Job.from_json(job) for job in kept["Unfinished"]]
            state = ServerState(kept["Seq"])
            places = {**kept["Finished"], **{job.id: job.series for job in unfinished}}
        except (ValueError, KeyError, TypeError) as error:
            raise StateUnreadable(
                f"Orthanc's global property {STATE_PROPERTY} does not hold orthanc-liver's list of "
                f"jobs; another program or another version wrote it ({type(error).__name__})"
            ) from error
        for job_id, series_id in places.items():
            record = self.read_record(series_id)
            if record and record.job.id == job_id:
                state.finished.append(record.job)
        ended = {job.id for job in state.finished}
        # Orthanc may have been killed after a job was noted on its series and before it was here.
        state.unfinished = [job for job in unfinished if job.id not in ended]
        return state

    def keep(self, state: ServerState) -> bool:
        """Replace what the server keeps; False where that was not possible."""
        kept = {
            "Seq": state.seq,
            "Unfinished": [job.as_json() for job in state.unfinished],
            "Finished": {job.id: job.series for job in state.finished},
        }
        try:
            self._orthanc.set_property(STATE_PROPERTY, json.dumps(kept))
        except OrthancError as error:
            self._orthanc.log_error(f"the list of jobs could not be kept: {error}")
            return False
        return True

    def read_record(self, series_id: str) -> Record | None:
        """What a series says of its last job, None where it says nothing."""
        try:
            text = self._orthanc.get_bytes(f"/series/{series_id}/metadata/{RECORD_METADATA}")
            record = parse_clients_json(text)
            return Record(Job.from_json(record["Job"]), record["Result"])
        except Missing:
            return None
        except (ValueError, KeyError, TypeError):
            # Any client of Orthanc may write metadata. Ours will take its place.
            self._orthanc.log_error(f"metadata {RECORD_METADATA} of {series_id} is not ours")
            return None

    def record(self, job: Job) -> bool:
        """Leave a finished job on its series; an earlier result stays unless there is a new one.

        False where that was not possible.
        """
        try:
            before = self.read_record(job.series)
            result = before.result if before else None
            if job.result:
                source = {"Job": job.id, "SourceKey": job.source_key, "Model": job.model}
                result = {**job.result, **source}
            text = json.dumps({"Job": job.as_json(), "Result": result})
            self._orthanc.put(f"/series/{job.series}/metadata/{RECORD_METADATA}", text.encode())
        except Missing:
            pass  # the series is gone, and its record with it
        except OrthancError as error:
            self._orthanc.log_error(f"job {job.id} could not be noted on its series: {error}")
            return False
        return True


def write_preview(orthanc: Orthanc, series_id: str, png: bytes) -> None:
    """Leave the picture on the series."""
    orthanc.put(f"/series/{series_id}/attachments/{PREVIEW_ATTACHMENT}", png)


def read_preview(orthanc: Orthanc, series_id: str) -> bytes:
    """The picture of the series; Missing where there is none."""
    return orthanc.get_bytes(f"/series/{series_id}/attachments/{PREVIEW_ATTACHMENT}/data")
