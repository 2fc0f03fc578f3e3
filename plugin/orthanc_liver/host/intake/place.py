"""How far a backfill is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Stage(StrEnum):
    """How a backfill stands."""

    RUNNING = "Running"
    DONE = "Done"
    CANCELLED = "Cancelled"


@dataclass
class Place:
    """How far a backfill is; the first `done` studies are done with. created: UTC."""

    created: datetime
    stage: Stage = Stage.RUNNING
    done: int = 0
    submitted: int = 0
    skipped: int = 0
