"""What becomes of a result, step by step, each told of to who does it."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from orthanc_liver.engine.protocol import DOUBTFUL, SURE, Outcome
from orthanc_liver.host.jobs import results
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Record
from orthanc_liver.host.jobs.results import Results
from orthanc_liver.host.settings import Settings

RTSTRUCT = {"Instance": "rt", "SopInstanceUid": "2.25.1", "Kind": "RTSTRUCT"}
SEG = {"Instance": "seg", "SopInstanceUid": "2.25.2", "Kind": "SEG"}


class Desk:
    """The results with nobody real beside them."""

    def __init__(self, patched: pytest.MonkeyPatch, send_after: str = "result") -> None:
        self.queue, self.ledger, self.deliveries = Mock(), Mock(), Mock()
        self.orthanc, self.reviews = Mock(), Mock()
        self.reviews.standing_still.return_value.__enter__ = Mock()
        self.reviews.standing_still.return_value.__exit__ = Mock(return_value=None)
        self.reviews.of.return_value = None
        self.ledger.read_reviews.return_value = []
        self.ledger.read_record.return_value = None
        self.deliveries.unfinished.return_value = []
        self.outside: dict[str, Any] = {
            name: Mock() for name in ("supersede", "withdraw", "store_beside")
        }
        self.outside["store_beside"].return_value = [RTSTRUCT, SEG]
        self.outside |= {
            "destinations_of": Mock(),
            "sop_instance_uid": lambda kind, _: f"of {kind}",
        }
        for name, one in self.outside.items():
            patched.setattr(results, name, one)
        settings = Settings(send_after=send_after)
        self.results = Results(
            self.orthanc, self.queue, self.ledger, self.deliveries, self.reviews, settings
        )


def job(**more: Any) -> Job:
    return Job("series", "study", "slices", **more)


OBJECTS = [("RTSTRUCT", b"r"), ("SEG", b"s")]


def test_what_is_kept_was_written_down_before(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, done = Desk(monkeypatch), job(intended_uids=["of RTSTRUCT", "of SEG"])
    desk.results.keep(done, Mock(id="series"), OBJECTS, b"png")
    desk.queue.claim_storing.assert_called_once_with(done, ["of RTSTRUCT", "of SEG"])
    assert done.result == {**RTSTRUCT, "Further": [SEG]}
    assert done.intended_uids == []
    assert done.report is None
    desk.outside["supersede"].assert_called_once()
    desk.deliveries.add.assert_called_once()
    assert desk.deliveries.add.call_args.args[:2] == (done, ["rt", "seg"])
    desk.queue.succeed.assert_called_once_with(done, Outcome.SEGMENTED)


def test_of_a_cancelled_job_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, done = Desk(monkeypatch), job()
    desk.queue.claim_storing.return_value = False
    desk.results.keep(done, Mock(id="series"), OBJECTS, b"png")
    desk.outside["store_beside"].assert_not_called()
    desk.queue.succeed.assert_not_called()
    assert done.result is None


@pytest.mark.parametrize("odd", [0, 1])
def test_each_object_of_somebody_elses_is_told(monkeypatch: pytest.MonkeyPatch, odd: int) -> None:
    desk, done = Desk(monkeypatch), job(report={"warnings": ["before"], "liver_ml": 1700})
    kept = [dict(RTSTRUCT), dict(SEG)]
    kept[odd]["DiffersIn"] = ["ApprovalStatus"]  # type: ignore[assignment]
    desk.outside["store_beside"].return_value = kept
    desk.results.keep(done, Mock(id="series"), OBJECTS, b"png")
    assert done.report
    assert done.report["liver_ml"] == 1700
    before, told = done.report["warnings"]
    assert before == "before"
    assert told.startswith(f"The {kept[odd]['Kind']} that lies beside the CT is not the one")


def test_without_a_result_the_former_one_may_be_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, done = Desk(monkeypatch), job()
    desk.results.end_without(done, Outcome.NO_LIVER)
    desk.queue.succeed.assert_called_once_with(done, Outcome.NO_LIVER)
    desk.results.end_without(done, Outcome.REFUSED, "a slice is missing")
    desk.queue.fail.assert_called_once_with(done, Outcome.REFUSED, "a slice is missing")
    assert desk.outside["withdraw"].call_count == 2


@pytest.mark.parametrize(
    ("send_after", "grade", "is_held"),
    [
        ("result", DOUBTFUL, False),
        ("accepted", SURE, True),
        ("accepted-if-doubtful", SURE, False),
        ("accepted-if-doubtful", DOUBTFUL, True),
        ("accepted-if-doubtful", None, True),
    ],
)
@pytest.mark.parametrize("is_another_job", [False, True])
def test_what_waits_for_a_person_waits_after_a_restart_too(
    monkeypatch: pytest.MonkeyPatch,
    send_after: str,
    grade: str | None,
    *,
    is_held: bool,
    is_another_job: bool,
) -> None:
    desk = Desk(monkeypatch, send_after)
    done = job(report={"grade": grade}, result={**RTSTRUCT, "Further": []})
    desk.results.send(done, Mock(), again=False)
    assert desk.deliveries.add.call_args.kwargs["is_held"] is is_held
    one = Mock(series="series", job="another" if is_another_job else done.id, instances=["rt"])
    desk.deliveries.unfinished.return_value = [one]
    desk.ledger.read_record.return_value = Record(done, None)
    desk.results.restore()
    # Of a job that is no longer known, the grade is not.
    waits = send_after != "result" if is_another_job else is_held
    assert desk.deliveries.hold.call_count == waits
    desk.deliveries.lose.assert_not_called()


def test_what_is_gone_from_orthanc_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "accepted")
    one = Mock(series="series", job="j", instances=["rt", "seg"])
    desk.deliveries.unfinished.return_value = [one]
    desk.orthanc.has_instance = lambda instance: instance != "seg"
    desk.results.restore()
    desk.deliveries.lose.assert_called_once_with(one)
    desk.deliveries.hold.assert_not_called()
