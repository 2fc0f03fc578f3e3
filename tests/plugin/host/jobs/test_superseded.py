"""Which former objects a new result sets aside, one rule at a time, without a host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.records import Record
from orthanc_liver.host.jobs.superseded import supersede, withdraw
from orthanc_liver.host.server.api import Missing, Orthanc

MODEL, OTHER_MODEL = {"Name": "liver", "Sha256": "a" * 64}, {"Name": "liver", "Sha256": "b" * 64}


class Shelf(Orthanc):
    """What lies in an archive: of each instance its study, its kind and its note."""

    def __init__(self, **kinds: str) -> None:
        self.kinds = kinds
        self.study_of = dict.fromkeys(kinds, "study")
        self.notes: dict[str, dict[str, str]] = {}
        self.vanishing: set[str] = set()
        self.logged: list[str] = []

    def get(self, path: str) -> Any:
        instance = path.split("/")[2]
        if instance not in self.kinds:
            raise Missing(path)
        return {
            "MainDicomTags": {"Modality": self.kinds[instance]},
            "ParentStudy": self.study_of[instance],
        }

    def put(self, path: str, content: bytes) -> None:
        instance = path.split("/")[2]
        if instance in self.vanishing:
            raise Missing(path)
        self.notes[instance] = json.loads(content)

    def delete(self, path: str) -> None:
        instance = path.split("/")[2]
        if "/metadata/" not in path:
            del self.kinds[instance]
        elif self.notes.pop(instance, None) is None:
            raise Missing(path)

    def instances_with(self, uid: str) -> list[str]:
        return [instance for instance in self.kinds if uid_of(instance) == uid]

    def log(self, message: str) -> None:
        self.logged.append(message)


def uid_of(instance: str) -> str:
    return f"2.25.{instance}"


def result(rtstruct: str, *further: str, **more: Any) -> dict[str, Any]:
    first, *others = (
        {"Instance": instance, "SopInstanceUid": uid_of(instance)}
        for instance in (rtstruct, *further)
    )
    keys = {"Model": MODEL, "SourceKey": "slices", "FilesKey": "files"}
    return {**first, "Further": others, **keys, **more}


def job(made: dict[str, Any] | None = None, **more: Any) -> Job:
    return Job("series", "study", "slices", model=MODEL, files_key="files", result=made, **more)


def record(former: dict[str, Any] | None, *intended: str) -> Record:
    return Record(job(intended_uids=[uid_of(one) for one in intended]), former)


BY_NEW = {"SupersededBy": uid_of("new")}


def test_the_former_result_is_marked_all_of_it() -> None:
    shelf = Shelf(old="RTSTRUCT", seg="SEG", new="RTSTRUCT")
    done = job(result("new"))
    supersede(shelf, record(result("old", "seg")), done, keep=True)
    assert shelf.notes == {"old": BY_NEW, "seg": BY_NEW}
    assert done.result
    assert done.result["Supersedes"] == uid_of("old")
    assert len(shelf.logged) == 2
    assert "which is marked" in shelf.logged[0]


def test_the_same_object_filed_under_another_patient_is_a_former_one() -> None:
    shelf = Shelf(old="RTSTRUCT", new="RTSTRUCT")
    former = result("old") | {"SopInstanceUid": uid_of("new")}
    supersede(shelf, record(former), job(result("new")), keep=True)
    assert shelf.notes == {"old": BY_NEW}


def test_or_deleted() -> None:
    shelf = Shelf(old="RTSTRUCT", seg="SEG", new="RTSTRUCT")
    supersede(shelf, record(result("old", "seg")), job(result("new")), keep=False)
    assert (shelf.kinds, shelf.notes) == ({"new": "RTSTRUCT"}, {})
    assert "which is deleted" in shelf.logged[0]


@pytest.mark.parametrize("keep", [True, False])
def test_what_both_hold_stays_and_loses_its_note(keep: bool) -> None:
    """A late slice came and went again: the SEG of the same mask is the same object."""
    shelf = Shelf(old="RTSTRUCT", seg="SEG", new="RTSTRUCT")
    shelf.notes = {"new": {"SupersededBy": "2.25.old"}, "seg": {"SupersededBy": "2.25.x"}}
    supersede(shelf, record(result("old", "seg")), job(result("new", "seg")), keep=keep)
    assert shelf.notes == ({"old": BY_NEW} if keep else {})
    assert {"seg", "new"} <= set(shelf.kinds)


@pytest.mark.parametrize("keep", [True, False])
def test_the_same_result_again_sets_nothing_aside_and_still_says_what_it_superseded(
    keep: bool,
) -> None:
    shelf = Shelf(new="RTSTRUCT", seg="SEG")
    shelf.notes = {"new": {"Rejected": "20260101"}}
    done = job(result("new", "seg"))
    former = result("new", "seg", Supersedes=uid_of("older"))
    supersede(shelf, record(former), done, keep=keep)
    assert done.result
    assert done.result["Supersedes"] == uid_of("older")
    assert shelf.notes == {"new": {"Rejected": "20260101"}}
    assert len(shelf.kinds) == 2


@pytest.mark.parametrize("odd", [{}, {"Supersedes": 7}, {"Supersedes": None}])
def test_no_client_can_make_it_say_rubbish(odd: dict[str, Any]) -> None:
    done = job(result("new"))
    supersede(Shelf(new="RTSTRUCT"), record(result("new", **odd)), done, keep=True)
    assert done.result
    assert "Supersedes" not in done.result


@pytest.mark.parametrize("model", [OTHER_MODEL, None, {}, {"Name": "without a digest"}])
def test_another_models_result_stands_beside_it(model: dict[str, str] | None) -> None:
    shelf = Shelf(old="RTSTRUCT", new="RTSTRUCT")
    done = job(result("new"))
    supersede(shelf, record(result("old", Model=model)), done, keep=True)
    assert shelf.notes == {}
    assert done.result
    assert "Supersedes" not in done.result


def test_a_job_without_a_model_knows_no_former_result() -> None:
    shelf = Shelf(old="RTSTRUCT", new="RTSTRUCT")
    done = job(result("new"))
    done.model = None
    supersede(shelf, record(result("old")), done, keep=True)
    assert shelf.notes == {}


@pytest.mark.parametrize("known", [None, record(None)])
def test_nothing_was_there(known: Record | None) -> None:
    shelf = Shelf(new="RTSTRUCT")
    shelf.notes = {"new": {"Rejected": "20260101"}}
    supersede(shelf, known, job(result("new")), keep=False)
    assert (len(shelf.kinds), len(shelf.notes)) == (1, 1)
    nothing = job()
    supersede(shelf, record(result("new")), nothing, keep=False)
    assert (len(shelf.kinds), nothing.result) == (1, None)


def test_what_an_attempt_left_that_was_cut_off() -> None:
    """Of this job, and of one that failed; RTSTRUCT first, and never what is of this result."""
    shelf = Shelf(half="RTSTRUCT", seg="SEG", failed="RTSTRUCT", new="RTSTRUCT", same="SEG")
    done = job(result("new", "same"), intended_uids=[*map(uid_of, ["half", "seg", "same"])])
    supersede(shelf, record(None, "failed", "new"), done, keep=True)
    assert shelf.notes == {"half": BY_NEW, "seg": BY_NEW, "failed": BY_NEW}
    assert done.result
    assert done.result["Supersedes"] == uid_of("half")


def test_what_is_of_this_result_was_not_cut_off() -> None:
    shelf = Shelf(new="RTSTRUCT", same="SEG")
    done = job(result("new", "same"), intended_uids=[uid_of("new"), uid_of("same")])
    supersede(shelf, None, done, keep=False)
    assert done.result
    assert "Supersedes" not in done.result
    assert len(shelf.kinds) == 2


def test_the_former_result_is_named_before_what_was_cut_off() -> None:
    shelf = Shelf(old="RTSTRUCT", half="RTSTRUCT", new="RTSTRUCT")
    done = job(result("new"), intended_uids=[uid_of("half")])
    supersede(shelf, record(result("old")), done, keep=True)
    assert shelf.notes == {"old": BY_NEW, "half": BY_NEW}
    assert done.result
    assert done.result["Supersedes"] == uid_of("old")


def test_only_a_result_in_the_ct_s_own_study_is_touched() -> None:
    shelf = Shelf(ct="CT", elsewhere="RTSTRUCT", half="RTSTRUCT", new="RTSTRUCT")
    shelf.study_of |= {"elsewhere": "another study", "half": "another study"}
    former = result("elsewhere", "ct", "gone")
    done = job(result("new"), intended_uids=[uid_of("half")])
    supersede(shelf, record(former), done, keep=False)
    assert len(shelf.kinds) == 4
    assert done.result
    assert done.result["Supersedes"] == uid_of("elsewhere")
    only_cut_off = job(result("new"), intended_uids=[uid_of("half")])
    supersede(shelf, None, only_cut_off, keep=False)
    assert only_cut_off.result
    assert "Supersedes" not in only_cut_off.result


def test_what_somebody_deletes_meanwhile_holds_nothing_up() -> None:
    shelf = Shelf(old="RTSTRUCT", seg="SEG", new="RTSTRUCT")
    shelf.vanishing = {"old"}
    supersede(shelf, record(result("old", "seg")), job(result("new")), keep=True)
    assert shelf.notes == {"seg": BY_NEW}
    withdraw(shelf, record(result("old", "seg", SourceKey="others")), job())
    assert shelf.notes["seg"] != BY_NEW


class TestWithdraw:
    def test_a_result_of_other_slices_or_other_files_says_so(self) -> None:
        for odd in ({"SourceKey": "others"}, {"FilesKey": "others"}):
            shelf = Shelf(old="RTSTRUCT", seg="SEG", ct="CT", far="SEG")
            shelf.study_of["far"] = "another study"
            withdraw(shelf, record(result("old", "seg", "ct", "far", "gone", **odd)), job())
            assert sorted(shelf.notes) == ["old", "seg"]
            assert {"Outdated"} == {key for note in shelf.notes.values() for key in note}
            assert len(shelf.logged) == 2

    def test_a_result_of_these_slices_stands(self) -> None:
        shelf = Shelf(old="RTSTRUCT")
        withdraw(shelf, record(result("old")), job())
        of_0_1_0 = result("old")
        del of_0_1_0["FilesKey"]
        withdraw(shelf, record(of_0_1_0), job())
        withdraw(shelf, record(None), job())
        withdraw(shelf, None, job())
        assert shelf.notes == {}
