"""Objects of one kind on their way to one destination, and how that looks to a client."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orthanc_liver.host.delivery.destinations import Destination
from orthanc_liver.host.jobs.job import State
from orthanc_liver.host.server.times import text_of


class Arrival(StrEnum):
    """What is known of it at its destination. REFUSED: it takes no such object."""

    UNKNOWN = ""
    SENT = "sent"
    COMMITTED = "committed"
    REFUSED = "refused"


@dataclass
class Delivery:
    """The object, or the objects, of one kind of a result to one destination. Instance, outline,
    series and others are Orthanc's ids.

    others: further instances of the same kind, which go together with the first.
    outline: the RTSTRUCT on which a person decides whether it goes. times_unknown: attempts of
    which Orthanc could not tell how they ended. is_held: it does not go before a person accepts
    the outline. transaction: of a storage commitment that is not answered yet; is_without_proof:
    the destination was asked for one and offers none.
    """

    job: str
    series: str
    outline: str
    instance: str
    kind: str
    destination: Destination
    others: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = State.PENDING
    attempts: int = 0
    reason: str = ""
    completed: datetime | None = None
    orthanc_job: str = ""
    times_unknown: int = 0
    is_held: bool = False
    arrival: Arrival = Arrival.UNKNOWN
    transaction: str = ""
    is_without_proof: bool = False

    @property
    def instances(self) -> list[str]:
        """All that go."""
        return [self.instance, *self.others]

    @property
    def is_answered(self) -> bool:
        """Whether the destination took it, or never will."""
        return self.state is State.SUCCESS or self.arrival is Arrival.REFUSED

    def as_json(self) -> dict[str, Any]:
        """In the manner of Orthanc's jobs."""
        return {
            "ID": self.id,
            "Job": self.job,
            "Series": self.series,
            "Kind": self.kind,
            "Instances": self.instances,
            "Destination": self.destination.as_json(),
            "State": str(self.state),
            "Arrival": str(self.arrival),
            "Attempts": self.attempts,
            "Reason": self.reason,
            "OrthancJob": self.orthanc_job,
            "CreationTime": text_of(self.created),
            "CompletionTime": text_of(self.completed) if self.completed else None,
        }
