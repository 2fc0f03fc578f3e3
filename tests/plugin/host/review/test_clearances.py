"""What two threads say of one outline at once: neither word is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import Mock

import pytest

from orthanc_liver.engine.protocol import SURE
from orthanc_liver.host.jobs.stored_form import read_review
from orthanc_liver.host.review.clearance import Clearance, Clearances
from orthanc_liver.host.review.review import Verdict
from tests.plugin.host.paper import orthanc_id
from tests.plugin.host.review.test_review_notes import OURS

REJECTED = read_review(OURS)


class Interrupted(Clearances):
    """Whoever reads is interrupted, once, by another thread that says something."""

    def __init__(self) -> None:
        super().__init__(Mock())
        self.others: list[threading.Thread] = []

    def interrupt_by(self, say: Callable[[], None]) -> None:
        self.others = [threading.Thread(target=say)]

    def of(self, series: str, outline: str) -> Clearance:
        found = super().of(series, outline)
        for one in self.others:
            if not one.ident:
                one.start()
                one.join(0.5)  # it waits for its turn, or else is over by now
        return found


@pytest.mark.parametrize("first", ["grade", "review"])
def test_a_job_that_ends_and_a_person_who_decides_lose_nothing(first: str) -> None:
    clearances = Interrupted()
    says: dict[str, Callable[[], None]] = {
        "grade": lambda: clearances.note_grade(REJECTED.series, REJECTED.rtstruct, SURE),
        "review": lambda: clearances.note_review(REJECTED),
    }
    say = says.pop(first)
    clearances.interrupt_by(*says.values())
    say()
    for one in clearances.others:
        one.join()
    kept = clearances.of(REJECTED.series, REJECTED.rtstruct)
    assert (kept.grade, kept.review) == (SURE, REJECTED)
    assert not kept.opens("result")


def test_a_note_neither_changes_nor_adds_a_word() -> None:
    clearances = Clearances(Mock())
    clearances.note_review(REJECTED)
    forged = replace(REJECTED, verdict=Verdict.ACCEPTED, reason="")
    of_another = replace(forged, rtstruct=orthanc_id("undecided"))
    assert clearances.decided(REJECTED.series, [forged, of_another]) == [forged, REJECTED]
    assert clearances.decided(REJECTED.series, []) == [REJECTED]
    assert clearances.decided("another series", [forged]) == []
