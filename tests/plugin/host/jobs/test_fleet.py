"""Whose lane hears of a job, and who is told to stop, with a dispatcher on paper."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orthanc_liver.engine.protocol import Done, Errand, Message, Outcome, Rank, Ready, Recall
from orthanc_liver.host.errors import EngineGone
from orthanc_liver.host.jobs.fleet import Fleet, Lane
from orthanc_liver.host.settings import Settings

READY = Ready("a network", "0" * 64, "", "workers")
ERRAND = Errand("a job", Rank.PEOPLE, b"its case")
LOST = Done("a job", Outcome.FAILED, "every worker that had it was lost", None, is_final=True)


class Paper:
    """A fleet whose dispatcher only writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        orthanc: Any = SimpleNamespace()
        self.fleet = Fleet(orthanc, Settings())
        self._process: Any = SimpleNamespace(alive=True, send=self.told.append)

    def lane(self) -> Lane:
        return Lane(self.fleet, self._process, READY, lambda: None)


@pytest.mark.parametrize("end", ["done", "cancelled"])
def test_a_lane_that_had_a_job_before_takes_it_from_no_other(end: str) -> None:
    paper = Paper()
    former, now = paper.lane(), paper.lane()
    former.send(ERRAND)
    if end == "done":
        former.hear(LOST)
        assert former.receive() == LOST
    else:
        former.kill()
    told = len(paper.told)
    now.send(ERRAND)  # somebody wants it again
    if end == "cancelled":
        with pytest.raises(EngineGone):
            former.receive()
    former.close()  # for whatever reason
    assert paper.told[told:] == [ERRAND]
    assert paper.fleet.lane_of("a job") is now
    now.kill()
    assert paper.told[told:] == [ERRAND, Recall("a job")]
    assert paper.fleet.lane_of("a job") is None


def test_a_job_that_is_cancelled_as_it_is_sent_is_recalled_or_never_sent() -> None:
    paper = Paper()
    lane = paper.lane()
    lane.kill()
    with pytest.raises(EngineGone, match="the job was cancelled"):
        lane.send(ERRAND)
    assert paper.told == []
    assert paper.fleet.lane_of("a job") is None
