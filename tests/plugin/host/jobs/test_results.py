"""What becomes of a result, step by step, each told of to who does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from orthanc_liver.engine.protocol import DOUBTFUL, SURE, Outcome
from orthanc_liver.host.delivery.delivery import Delivery
from orthanc_liver.host.jobs import results
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.results import Results
from orthanc_liver.host.jobs.storing import Pictures
from orthanc_liver.host.review.clearance import Clearances
from orthanc_liver.host.review.review import Verdict
from orthanc_liver.host.settings import Settings

RT_ID, SEG_ID = "00000000-rt", "11111111-seg"
RTSTRUCT = {"Instance": RT_ID, "SopInstanceUid": "2.25.1", "Kind": "RTSTRUCT"}
SEG = {"Instance": SEG_ID, "SopInstanceUid": "2.25.2", "Kind": "SEG"}


class Desk:
    """The results with nobody real beside them."""

    def __init__(self, patched: pytest.MonkeyPatch, send_after: str = "result") -> None:
        self.queue, self.ledger, self.deliveries = Mock(), Mock(), Mock()
        self.orthanc, self.reviews = Mock(), Mock()
        self.reviews.standing_still.return_value.__enter__ = Mock()
        self.reviews.standing_still.return_value.__exit__ = Mock(return_value=None)
        self.ledger.read_reviews.return_value = []
        self.ledger.read_record.return_value = None
        self.deliveries.unfinished.return_value = []
        self.outside: dict[str, Any] = {
            name: Mock() for name in ("supersede", "withdraw", "store_beside")
        }
        self.outside["store_beside"].return_value = [RTSTRUCT, SEG]
        for name in ("find_approved", "mark_as_rejected", "store_approved", "supersede_approved"):
            self.outside[name] = Mock()
        self.outside["store_approved"].return_value = "approved"
        for name in ("settle_cuts", "standing_cuts"):
            self.outside[name] = Mock(return_value=[])
        self.outside["find_approved"].return_value = None
        self.outside["sop_instance_uid"] = Mock(side_effect=lambda kind, _: f"of {kind}")
        for name, one in self.outside.items():
            patched.setattr(results, name, one)
        shelf = Mock()
        shelf.read_clearances.return_value = []
        self.clearances = Clearances(shelf)
        self.deliveries.awaiting_proof.return_value = []
        self.set_up(send_after=send_after, destinations=({"Modality": "pacs"},))

    def set_up(self, **settings: Any) -> None:
        """Begin anew with these settings."""
        self.results = Results(
            self.orthanc,
            self.queue,
            self.ledger,
            self.deliveries,
            self.reviews,
            self.clearances,
            Settings(**settings),
        )

    def handed_over(self) -> list[Delivery]:
        """What the deliveries were last given."""
        handed: list[Delivery] = self.deliveries.add.call_args.args[1]
        return handed


def job(**more: Any) -> Job:
    return Job("series", "study", "slices", **more)


OBJECTS = [("RTSTRUCT", b"r"), ("SEG", b"s")]


def test_what_is_kept_was_written_down_before(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, done = Desk(monkeypatch), job(intended_uids=["of RTSTRUCT", "of SEG"])
    desk.results.keep(done, Mock(id="series"), OBJECTS, Pictures(b"png"))
    desk.queue.claim_storing.assert_called_once_with(done, ["of RTSTRUCT", "of SEG"])
    assert done.result == {**RTSTRUCT, "Further": [SEG]}
    assert done.intended_uids == []
    assert done.report is None
    desk.outside["supersede"].assert_called_once()
    desk.deliveries.add.assert_called_once()
    assert [(one.instance, one.kind) for one in desk.handed_over()] == [
        (RT_ID, "RTSTRUCT"),
        (SEG_ID, "SEG"),
    ]
    desk.queue.succeed.assert_called_once_with(done, Outcome.SEGMENTED)


def test_of_a_cancelled_job_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, done = Desk(monkeypatch), job()
    desk.queue.claim_storing.return_value = False
    desk.results.keep(done, Mock(id="series"), OBJECTS, Pictures(b"png"))
    desk.outside["store_beside"].assert_not_called()
    desk.queue.succeed.assert_not_called()
    assert done.result is None


@pytest.mark.parametrize("odd", [0, 1])
def test_each_object_of_somebody_elses_is_told(monkeypatch: pytest.MonkeyPatch, odd: int) -> None:
    desk, done = Desk(monkeypatch), job(report={"warnings": ["before"], "liver_ml": 1700})
    kept = [dict(RTSTRUCT), dict(SEG)]
    kept[odd]["DiffersIn"] = ["ApprovalStatus"]  # type: ignore[assignment]
    desk.outside["store_beside"].return_value = kept
    desk.results.keep(done, Mock(id="series"), OBJECTS, Pictures(b"png"))
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
@pytest.mark.parametrize("is_unknown", [False, True])
def test_what_waits_for_a_person_waits_after_a_restart_too(
    monkeypatch: pytest.MonkeyPatch,
    send_after: str,
    grade: str | None,
    *,
    is_held: bool,
    is_unknown: bool,
) -> None:
    desk = Desk(monkeypatch, send_after)
    done = job(report={"grade": grade}, result={**RTSTRUCT, "Further": []})
    if not is_unknown:
        desk.clearances.note_grade("series", RT_ID, grade or "")
    desk.results.send(done, Mock(), again=False)
    # Of an outline that is not known any more, the grade is not.
    waits = send_after != "result" if is_unknown else is_held
    (one,) = desk.handed_over()
    assert one.is_held is waits
    desk.deliveries.unfinished.return_value = [one]
    desk.results.restore([])
    assert desk.deliveries.hold.call_count == waits
    desk.deliveries.lose.assert_not_called()


def test_what_is_gone_from_orthanc_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "accepted")
    done = job(result={**RTSTRUCT, "Further": [SEG]})
    desk.results.send(done, Mock(), again=False)
    desk.deliveries.unfinished.return_value = desk.handed_over()
    desk.orthanc.has_instance = lambda instance: instance != SEG_ID
    desk.results.restore([])
    kept, gone = desk.handed_over()
    desk.deliveries.lose.assert_called_once_with(gone)
    desk.deliveries.hold.assert_called_once_with(kept)


def finished() -> Job:
    return job(report={"grade": SURE}, result={**RTSTRUCT, "Further": [SEG]})


def decided(verdict: Verdict) -> Mock:
    return Mock(verdict=verdict, series="series", rtstruct=RT_ID, reason="it leaks")


def test_what_was_accepted_is_sent_in_its_approved_form(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "accepted")
    desk.clearances.note_review(decided(Verdict.ACCEPTED))
    desk.results.send(finished(), Mock(), again=False)
    handed = [(one.instance, one.is_held) for one in desk.handed_over()]
    assert handed == [("approved", False), (SEG_ID, False)]
    desk.deliveries.release.assert_called_once_with(RT_ID, "approved")
    desk.deliveries.refuse.assert_not_called()


def test_what_was_rejected_is_held_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.clearances.note_review(decided(Verdict.REJECTED))
    desk.results.send(finished(), Mock(), again=False)
    assert [one.is_held for one in desk.handed_over()] == [True, True]
    assert [one.args[0] for one in desk.deliveries.refuse.call_args_list] == [RT_ID]
    desk.outside["mark_as_rejected"].assert_called_once()
    desk.deliveries.release.assert_not_called()


def test_a_change_of_mind_takes_the_approved_form_back(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, now = Desk(monkeypatch), decided(Verdict.REJECTED)
    desk.clearances.note_review(decided(Verdict.ACCEPTED))
    desk.outside["find_approved"].return_value = "approved"
    desk.results.decide(finished(), Mock(), now)
    desk.reviews.add.assert_called_once_with(now)
    desk.outside["mark_as_rejected"].assert_called_once_with(desk.orthanc, now, "approved")
    refused = [one.args for one in desk.deliveries.refuse.call_args_list]
    assert refused == [(one, "the outline was rejected: it leaks") for one in (RT_ID, "approved")]
    desk.deliveries.add.assert_not_called()


def test_who_accepts_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, "accepted")
    desk.results.decide(finished(), Mock(), decided(Verdict.ACCEPTED))
    desk.deliveries.restore.assert_called_once_with(["series"])
    assert [one.instance for one in desk.handed_over()] == ["approved", SEG_ID]


def test_a_restart_makes_up_for_what_follows_from_a_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch, "accepted")
    desk.results.send(finished(), Mock(), again=False)
    desk.deliveries.unfinished.return_value = desk.handed_over()[:1]
    desk.clearances.note_review(decided(Verdict.ACCEPTED))
    desk.results.restore([])
    desk.deliveries.release.assert_called_once_with(RT_ID, "approved")
    desk.deliveries.hold.assert_not_called()


def watched(desk: Desk) -> list[str]:
    """The names of what is done from now on, in their order."""
    order: list[str] = []
    for name in ("supersede", "supersede_approved"):
        desk.outside[name].side_effect = lambda *_, name=name, **__: order.append(name)
    desk.deliveries.add.side_effect = lambda *_, **__: order.append("send")
    desk.reviews.add.side_effect = lambda *_: order.append("show")
    desk.reviews.standing_still.return_value.__enter__.side_effect = lambda *_: order.append("lock")
    return order


@pytest.mark.parametrize("keep", [True, False])
def test_a_former_result_is_set_aside_before_the_new_one_leaves(
    monkeypatch: pytest.MonkeyPatch, *, keep: bool
) -> None:
    desk, done = Desk(monkeypatch), job(report={"grade": DOUBTFUL})
    desk.set_up(keep_superseded=keep, destinations=({"Modality": "pacs"},))
    order = watched(desk)
    record = desk.ledger.read_record.return_value = Mock()
    desk.results.keep(done, Mock(id="series"), OBJECTS, Pictures(b"png"))
    assert order == ["supersede", "supersede_approved", "lock", "send"]
    desk.outside["supersede"].assert_called_once_with(desk.orthanc, record, done, keep=keep)
    reviews = desk.ledger.read_reviews.return_value
    desk.outside["supersede_approved"].assert_called_once_with(desk.orthanc, reviews, done)


def test_the_grade_is_written_down_before_the_result_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it the outline would count as doubtful, or a doubtful one as sure."""
    for grade, is_held in ((SURE, False), (DOUBTFUL, True)):
        desk = Desk(monkeypatch, "accepted-if-doubtful")
        done = job(report={"grade": grade})
        desk.results.keep(done, Mock(id="series"), OBJECTS, Pictures(b"png"))
        assert [one.is_held for one in desk.handed_over()] == [is_held, is_held]


def test_every_end_and_decision_renews_the_studys_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, ended = Desk(monkeypatch), finished()
    ends: list[Callable[[], None]] = [
        lambda: desk.results.keep(ended, Mock(id="series"), OBJECTS, Pictures(b"png")),
        lambda: desk.results.end_without(ended, Outcome.NO_LIVER),
        lambda: desk.results.end_without(ended, Outcome.FAILED, "why"),
        lambda: desk.results.decide(ended, Mock(), decided(Verdict.ACCEPTED)),
        lambda: desk.results.decide(ended, Mock(), decided(Verdict.REJECTED)),
        lambda: desk.results.restore([ended]),
    ]
    for end in ends:
        labels = desk.results.labels = Mock()
        end()
        labels.renew.assert_called_once_with("study")
    labels.begin.assert_called_once_with()


def test_a_restart_writes_the_note_that_a_kill_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, review = Desk(monkeypatch), decided(Verdict.REJECTED)
    desk.results.restore([finished()])
    desk.reviews.write_again.assert_not_called()
    desk.clearances.note_review(review)
    desk.ledger.read_reviews.return_value = [decided(Verdict.ACCEPTED)]
    desk.results.restore([finished()])
    desk.reviews.write_again.assert_called_once_with(review)
    desk.ledger.read_reviews.return_value.append(review)
    desk.clearances.note_review(Mock(verdict=Verdict.ACCEPTED, series="series", rtstruct=SEG_ID))
    desk.results.restore([finished()])
    desk.reviews.write_again.assert_called_once()


def test_a_restart_looks_at_what_is_sent_and_not_yet_proven_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch)
    desk.results.send(finished(), Mock(), again=False)
    desk.deliveries.awaiting_proof.return_value = desk.handed_over()
    desk.clearances.note_review(decided(Verdict.REJECTED))
    desk.results.restore([])
    assert [one.args[0] for one in desk.deliveries.refuse.call_args_list] == [RT_ID, RT_ID]


def test_each_kind_waits_for_its_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """One destination, named twice: the outline at once, its mask once it is accepted."""
    desk = Desk(monkeypatch)
    desk.set_up(
        destinations=(
            {"Modality": "pacs", "Objects": ["RTSTRUCT"], "When": "result"},
            {"Modality": "pacs", "Objects": ["SEG"], "When": "accepted"},
        )
    )
    desk.results.send(finished(), Mock(), again=False)
    handed = desk.handed_over()
    assert [(one.kind, one.is_held) for one in handed] == [("RTSTRUCT", False), ("SEG", True)]
    desk.deliveries.unfinished.return_value = handed
    desk.results.restore([])
    desk.deliveries.hold.assert_called_once_with(handed[1])


@pytest.mark.parametrize("again", [True, False])
def test_who_has_it_gets_it_again_only_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    desk, done = Desk(monkeypatch), finished()
    desk.results.send(done, Mock(), again=again)
    assert desk.deliveries.add.call_args.kwargs == {"again": again}
    desk.results.decide(done, Mock(), decided(Verdict.ACCEPTED))
    assert desk.deliveries.add.call_args.kwargs == {"again": False}


def test_what_was_rejected_is_not_stored_as_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.clearances.note_review(decided(Verdict.REJECTED))
    desk.results.send(finished(), Mock(), again=False)
    desk.outside["store_approved"].assert_not_called()


def test_a_decision_is_kept_before_it_is_shown_and_under_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch)
    order = watched(desk)
    monkeypatch.setattr(desk.clearances, "note_review", lambda _: order.append("keep"))
    desk.results.decide(finished(), Mock(), decided(Verdict.REJECTED))
    assert order == ["lock", "keep", "show"]


def test_a_decision_takes_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, before, now = Desk(monkeypatch), decided(Verdict.ACCEPTED), decided(Verdict.ACCEPTED)
    series = Mock()
    desk.clearances.note_review(before)
    desk.outside["find_approved"].return_value = "approved before"
    desk.results.decide(finished(), series, now)
    desk.outside["find_approved"].assert_any_call(desk.orthanc, before, series.study)
    desk.outside["store_approved"].assert_any_call(desk.orthanc, series, now, "approved before")
