"""What a source answers, in one clear sentence each, and which of it is worth another try."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orthanc_liver.host.errors import NotPulled, NotPulledYet
from orthanc_liver.host.intake import sources
from orthanc_liver.host.intake.remote_study import Key, Wanted, Way
from orthanc_liver.host.intake.sources import Found, Sources
from orthanc_liver.host.server.api import Missing, OrthancError
from orthanc_liver.host.server.web_servers import WebServer

BY_DICOM = Wanted(Way.MODALITY, "pacs", Key.ACCESSION_NUMBER, "A1")
BY_WEB = Wanted(Way.DICOM_WEB, "archive", Key.ACCESSION_NUMBER, "A1")
FOUND = Found("1.2.3", "patient")
URL = "http://127.0.0.1/dicom-web"


class Scripted:
    """As much of Orthanc as is asked; answers: by path, an exception to be raised among them."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {"modalities": ["pacs"], "servers": {"archive": URL}} | answers

    def get(self, path: str) -> Any:
        name = path.split("/")[1]
        answer = self._answers.get(name, Missing("there is no such resource"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get_of_plugin(self, path: str) -> Any:
        assert path == "/dicom-web/servers?expand"
        return {name: {"Url": url} for name, url in self._answers["servers"].items()}

    def post(self, path: str, body: bytes) -> Any:
        if "seconds" in self._answers:
            self._answers["clock"][0] += self._answers["seconds"]
        if isinstance(self._answers["found"], Exception):
            raise self._answers["found"]
        return {"ID": "one"}

    def studies_with(self, uid: str) -> list[str]:
        return list(self._answers.get("here", []))


def sources_of(**answers: Any) -> Sources:
    scripted: Any = Scripted(**answers)
    return Sources(scripted, "/dicom-web/", {"archive": WebServer(URL)})


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        (10, "modality pacs did not answer the C-FIND within 10 s"),
        (9, "modality pacs cannot be reached or refuses our C-FIND: compare host, port and both"),
    ],
)
def test_silence_is_told_from_refusal(
    monkeypatch: pytest.MonkeyPatch, seconds: int, why: str
) -> None:
    clock = [0.0]
    monkeypatch.setattr("orthanc_liver.host.intake.sources.time.monotonic", lambda: clock[0])
    asked = sources_of(found=OrthancError("Error"), seconds=seconds, clock=clock)
    with pytest.raises(NotPulledYet, match=f"^{why}"):
        asked.find(BY_DICOM)


def failed(error_details: str = "", **more: Any) -> dict[str, Any]:
    return {"State": "Failure", "ErrorDetails": error_details, **more}


@pytest.mark.parametrize(
    ("job", "is_worth_another", "why"),
    [
        (failed("failed with DIMSE status 0xA801"), False, "refused the C-MOVE, for it does not"),
        (failed(DimseErrorStatus=0xA801), False, "refused the C-MOVE, for it does not"),
        (failed("failed with DIMSE status 0xB000"), True, "could send a part of the study only"),
        (failed("failed with DIMSE status 0xC000 (x)"), True, "could not send .* status 0xC000"),
        (failed("DIMSE read timeout"), True, "did not answer the C-MOVE in time"),
        (failed(), True, "the C-MOVE from modality pacs broke off"),
        (Missing("gone"), True, "Orthanc no longer knows its job"),
        ({"State": "Paused"}, True, "somebody paused Orthanc's job"),
        ({"State": "Success"}, False, "says that it sent the study, but nothing came"),
    ],
)
def test_what_becomes_of_c_move(job: Any, is_worth_another: bool, why: str) -> None:
    with pytest.raises(NotPulled, match=why) as caught:
        sources_of(jobs=job).has_fetched(BY_DICOM, FOUND, "one")
    assert isinstance(caught.value, NotPulledYet) is is_worth_another


def test_a_job_is_followed_to_its_end() -> None:
    assert not sources_of(jobs={"State": "Running"}).has_fetched(BY_DICOM, FOUND, "one")
    here = sources_of(jobs={"State": "Success"}, here=["study"])
    assert here.has_fetched(BY_DICOM, FOUND, "one")


def test_what_becomes_of_wado() -> None:
    content = {"FunctionErrorDescription": "Bad credentials"}
    with pytest.raises(NotPulledYet, match="archive could not give the study: Bad credentials"):
        sources_of(jobs=failed(Content=content)).has_fetched(BY_WEB, FOUND, "one")


def test_no_advice_for_c_move_is_given_where_wado_brought_nothing() -> None:
    with pytest.raises(NotPulled, match=r"archive says .* nothing came: see there whether") as told:
        sources_of(jobs={"State": "Success"}).has_fetched(BY_WEB, FOUND, "one")
    assert "AE title" not in str(told.value)


def answer(uid: str, patient: str, number: str = "A1") -> dict[str, Any]:
    tags = {"0020000D": uid, "00100020": patient, "00080050": number}
    return {tag: {"vr": "LO", "Value": [value]} for tag, value in tags.items()}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"", "has no study with this AccessionNumber"),
        (b"[]", "has no study with this AccessionNumber"),
        (json.dumps([answer("1.2", "one", "A12")]).encode(), "has no study with this"),
        (json.dumps([answer("../x", "one")]).encode(), "has no study with this"),
        (json.dumps([{"0020000D": {"vr": "UI"}}]).encode(), "has no study with this"),
        (b"<html>", "answers with what is not DICOM JSON"),
        (b"[1]", "answers with what is not DICOM JSON"),
        (b'[{"00100020":{"Value":{"a":1}}}]', "answers with what is not DICOM JSON"),
        (b"[" * 100_000, "answers with what is not DICOM JSON"),
        (
            json.dumps([answer("1.2", "one"), answer("1.3", "other")]).encode(),
            "has studies of 2 patients",
        ),
        (
            json.dumps([answer("1.2", ""), answer("1.3", "")]).encode(),
            "has 2 studies with this AccessionNumber and no PatientID, which",
        ),
        (
            json.dumps([answer(f"1.{n}", "one") for n in range(21)]).encode(),
            "has more than 20 studies with this AccessionNumber: ask",
        ),
        (
            json.dumps([answer(f"1.{n}", "one", "A2") for n in range(100)]).encode(),
            "answers with other studies, it does not heed AccessionNumber",
        ),
    ],
)
def test_what_a_web_server_answers(monkeypatch: pytest.MonkeyPatch, told: bytes, why: str) -> None:
    monkeypatch.setattr(sources, "find_studies", lambda *_: told)
    with pytest.raises(NotPulled, match=why):
        sources_of().find(BY_WEB)


def test_no_more_answers_are_asked_for_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def nothing(*how: Any) -> bytes:
        asked.append(how[2])
        return b""

    monkeypatch.setattr(sources, "find_studies", nothing)
    with pytest.raises(NotPulled):
        sources_of().find(BY_WEB)
    assert asked == [{"AccessionNumber": "A1", "limit": "100"}]


def test_several_studies_of_one_patient_are_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.dumps([answer("1.2", "one "), answer("1.3", "one")]).encode()
    monkeypatch.setattr(sources, "find_studies", lambda *_: told)
    assert [one.uid for one in sources_of().find(BY_WEB)] == ["1.2", "1.3"]


def test_a_web_server_that_was_added_by_rest_is_none_that_we_can_ask() -> None:
    """Nobody tells its password."""
    both = {"archive": f"{URL}/", "added later": URL}
    assert sources_of(servers=both).names(Way.DICOM_WEB) == ["archive"]


def test_no_web_server_is_asked_that_orthanc_would_not_fetch_from() -> None:
    """As after PUT /dicom-web/servers/archive."""
    moved = sources_of(servers={"archive": "http://127.0.0.1/elsewhere"})
    with pytest.raises(NotPulled, match=r"archive .*, or REST gave it another address"):
        moved.find(BY_WEB)


def test_a_source_that_was_taken_away_is_told() -> None:
    with pytest.raises(NotPulled, match="Orthanc has no modality pacs in DicomModalities"):
        sources_of(modalities=[]).find(BY_DICOM)
