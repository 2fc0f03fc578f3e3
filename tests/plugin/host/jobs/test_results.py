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
from orthanc_liver.host.review.review import Verdict
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
        self.outside = {name: Mock() for name in ("supersede", "withdraw", "store_beside")}
        self.outside["store_beside"].return_value = [RTSTRUCT, SEG]
        for name in ("destinations_of", "find_approved", "mark_as_rejected", "store_approved"):
            self.outside[name] = Mock()
        self.outside["store_approved"].return_value = "approved"
        self.outside["find_approved"].return_value = None
        self.outside["sop_instance_uid"] = Mock(side_effect=lambda kind, _: f"of {kind}")
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


def finished() -> Job:
    return job(report={"grade": SURE}, result={**RTSTRUCT, "Further": [SEG]})


def decided(verdict: Verdict) -> Mock:
    return Mock(verdict=verdict, rtstruct="rt", reason="it leaks")


def test_what_was_accepted_is_sent_in_its_approved_form(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "accepted")
    desk.reviews.of.return_value = decided(Verdict.ACCEPTED)
    desk.results.send(finished(), Mock(), again=False)
    assert desk.deliveries.add.call_args.args[1] == ["approved", "seg"]
    assert desk.deliveries.add.call_args.kwargs["is_held"] is False
    desk.deliveries.release.assert_called_once_with("rt", "approved")
    desk.deliveries.refuse.assert_not_called()


def test_what_was_rejected_is_held_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.reviews.of.return_value = decided(Verdict.REJECTED)
    desk.results.send(finished(), Mock(), again=False)
    assert desk.deliveries.add.call_args.kwargs["is_held"] is True
    assert [one.args[0] for one in desk.deliveries.refuse.call_args_list] == ["rt"]
    desk.outside["mark_as_rejected"].assert_called_once()
    desk.deliveries.release.assert_not_called()


def test_a_change_of_mind_takes_the_approved_form_back(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, before, now = Desk(monkeypatch), decided(Verdict.ACCEPTED), decided(Verdict.REJECTED)
    desk.reviews.of.return_value = before
    desk.outside["find_approved"].return_value = "approved"
    desk.results.decide(finished(), Mock(), now)
    desk.reviews.add.assert_called_once_with(now)
    desk.outside["mark_as_rejected"].assert_called_once()
    assert [one.args[0] for one in desk.deliveries.refuse.call_args_list] == ["rt", "approved"]
    desk.deliveries.add.assert_not_called()


def test_who_accepts_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, now = Desk(monkeypatch, "accepted"), decided(Verdict.ACCEPTED)
    desk.reviews.of.side_effect = [None, now]
    desk.results.decide(finished(), Mock(), now)
    desk.deliveries.restore.assert_called_once_with(["series"])
    assert desk.deliveries.add.call_args.args[1] == ["approved", "seg"]


def test_a_restart_makes_up_for_what_follows_from_a_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch, "accepted")
    desk.deliveries.unfinished.return_value = [Mock(series="series", job="j", instances=["rt"])]
    desk.reviews.of.return_value = decided(Verdict.ACCEPTED)
    desk.results.restore()
    desk.deliveries.release.assert_called_once_with("rt", "approved")
    desk.reviews.of.return_value = None  # what is under way is the approved form itself
    desk.ledger.read_reviews.return_value = [decided(Verdict.ACCEPTED)]
    desk.outside["find_approved"].return_value = "rt"
    desk.results.restore()
    desk.deliveries.hold.assert_not_called()
