"""The servers that studies are fetched from, and what they answer.

A C-FIND is Orthanc's call, which waits for the other side, and with it all of Python inside
Orthanc; so it has a time-out of its own. To fetch is one of Orthanc's jobs. Which of C-MOVE and
C-GET it uses is Orthanc's own setting, where it has both.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_liver.host.errors import NotPulled, NotPulledYet
from orthanc_liver.host.intake.qido import find_studies
from orthanc_liver.host.intake.remote_study import Key, Wanted, Way
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError
from orthanc_liver.host.server.web_servers import WebServer
from orthanc_liver.identifiers import DICOM_UID

_FIND_TIMEOUT_S = 10
_MOST_FOUND, _MOST_ANSWERS = 20, 100
_UNKNOWN_DESTINATION, _PARTLY = 0xA801, 0xB000
_DIMSE_STATUS = re.compile(r"DIMSE status 0x([0-9A-Fa-f]{4})")
_TAGS = {
    "PatientID": "00100020",
    Key.ACCESSION_NUMBER: "00080050",
    Key.STUDY_UID: "0020000D",
}


@dataclass(frozen=True)
class Found:
    """A study at its source; query and number: of Orthanc's answer to a C-FIND."""

    uid: str
    patient: str
    query: str = ""
    number: int = 0


class Sources:
    """What of DicomModalities and DicomWeb.Servers this Orthanc can ask. web_servers: by name, of
    its configuration; of one that was added by REST no client learns the password."""

    def __init__(
        self, orthanc: Orthanc, dicom_web_root: str, web_servers: Mapping[str, WebServer]
    ) -> None:
        self._orthanc = orthanc
        self._dicom_web = "/" + dicom_web_root.strip("/")
        self._web_servers = web_servers

    def names(self, way: Way) -> list[str]:
        """Those that are asked in this way; none where the plugin for it is not there."""
        if way is Way.MODALITY:
            return list(self._orthanc.get("/modalities"))
        try:
            known = self._orthanc.get_of_plugin(f"{self._dicom_web}/servers?expand")
        except Missing:
            return []
        return [name for name, told in known.items() if self._is_ours(name, told)]

    def _is_ours(self, name: str, told: Mapping[str, Any]) -> bool:
        """Whether Orthanc would fetch from where we ask: REST may give it another address."""
        ours = self._web_servers.get(name)
        return ours is not None and str(told.get("Url")).rstrip("/") == ours.url

    def find(self, wanted: Wanted) -> list[Found]:
        """The studies of one patient that fit; NotPulled, or NotPulledYet where it may pass."""
        if wanted.source not in self.names(wanted.way):
            raise NotPulled(unknown(wanted))
        ask = self._c_find if wanted.way is Way.MODALITY else self._qido
        found = ask(wanted)
        if not found:
            raise NotPulled(f"{wanted.place} has no study with this {wanted.key}")
        patients = len({one.patient for one in found})
        if patients > 1:
            raise NotPulled(
                f"{wanted.place} has studies of {patients} patients with this {wanted.key}: ask "
                f"for the right one by its {Key.STUDY_UID}"
            )
        if len(found) > 1 and not all(one.patient for one in found):
            raise NotPulled(
                f"{wanted.place} has {len(found)} studies with this {wanted.key} and no PatientID, "
                f"which may be of several patients: ask for the right one by its {Key.STUDY_UID}"
            )
        if len(found) > _MOST_FOUND:
            raise NotPulled(
                f"{wanted.place} has more than {_MOST_FOUND} studies with this {wanted.key}: ask "
                f"for those that are needed by their {Key.STUDY_UID}"
            )
        return found

    def fetch(self, wanted: Wanted, found: Found) -> str:
        """Return the id of Orthanc's job that fetches it; NotPulledYet where there is none."""
        try:
            if wanted.way is Way.MODALITY:
                path = f"/queries/{found.query}/answers/{found.number}/retrieve"
                answer = self._orthanc.post(path, b'{"Asynchronous": true}')
            else:
                body = {"Resources": [{"Study": found.uid}], "Synchronous": False}
                path = f"{self._dicom_web}/servers/{wanted.source}/retrieve"
                answer = self._orthanc.post_to_plugin(path, json.dumps(body).encode())
        except OrthancError as error:
            raise NotPulledYet(f"Orthanc could not ask {wanted.place}: {error}") from error
        return str(answer["ID"])

    def has_fetched(self, wanted: Wanted, found: Found, job_id: str) -> bool:
        """Whether the job has ended well; NotPulled or NotPulledYet where it has not."""
        try:
            job = self._orthanc.get(f"/jobs/{job_id}")
        except Missing:
            raise NotPulledYet("Orthanc no longer knows its job that fetches the study") from None
        if job["State"] == "Failure":
            failure = _failed_move if wanted.way is Way.MODALITY else _failed_wado
            raise failure(wanted, job)
        if job["State"] == "Paused":
            raise NotPulledYet("somebody paused Orthanc's job that fetches the study")
        if job["State"] == "Success" and not self.studies_here(found):
            advice = "which host and port it has for this Orthanc's AE title"
            if wanted.way is Way.DICOM_WEB:
                advice = "there whether the study has images, and the log of this Orthanc"
            raise NotPulled(
                f"{wanted.place} says that it sent the study, but nothing came: see {advice}"
            )
        return bool(job["State"] == "Success")

    def studies_here(self, found: Found) -> list[str]:
        """Orthanc's ids of what it holds of the study."""
        return self._orthanc.studies_with(found.uid)

    def count_here(self, found: Found) -> int:
        """How many instances of the study Orthanc holds."""
        return sum(
            int(self._orthanc.get(f"/studies/{study}/statistics")["CountInstances"])
            for study in self.studies_here(found)
        )

    def _c_find(self, wanted: Wanted) -> list[Found]:
        query = {str(key): "" for key in ("PatientID", *Key)} | {str(wanted.key): wanted.value}
        body = {"Level": "Study", "Query": query, "Timeout": _FIND_TIMEOUT_S}
        began_s = time.monotonic()
        try:
            asked = self._orthanc.post(
                f"/modalities/{wanted.source}/query", json.dumps(body).encode()
            )["ID"]
            answers = self._orthanc.get(f"/queries/{asked}/answers?expand&simplify")
        except OrthancError as error:
            if time.monotonic() - began_s >= _FIND_TIMEOUT_S:
                problem = f"did not answer the C-FIND within {_FIND_TIMEOUT_S} s"
            else:
                problem = (
                    "cannot be reached or refuses our C-FIND: compare host, port and both AE "
                    "titles, there and in DicomModalities"
                )
            raise NotPulledYet(f"{wanted.place} {problem}") from error
        told = [{key: _text(one.get(key)) for key in ("PatientID", *Key)} for one in answers]
        return _fitting(wanted, told, str(asked))

    def _qido(self, wanted: Wanted) -> list[Found]:
        server = self._web_servers[wanted.source]
        query = {str(wanted.key): wanted.value, "limit": str(_MOST_ANSWERS)}
        answer = find_studies(server, wanted.place, query)
        try:
            answers = json.loads(answer or b"[]")  # 204 where nothing fits
            found = _fitting(
                wanted, ({key: _value(one, tag) for key, tag in _TAGS.items()} for one in answers)
            )
        except (ValueError, RecursionError, TypeError, AttributeError, LookupError) as error:
            raise NotPulledYet(f"{wanted.place} answers with what is not DICOM JSON") from error
        if not found and len(answers) >= _MOST_ANSWERS:
            raise NotPulled(
                f"{wanted.place} answers with other studies, it does not heed {wanted.key}"
            )
        return found


def unknown(wanted: Wanted) -> str:
    """What is said of a source that Orthanc does not have."""
    if wanted.way is Way.MODALITY:
        return f"Orthanc has no {wanted.place} in DicomModalities"
    return f"Orthanc has no {wanted.place} in DicomWeb.Servers, or REST gave it another address"


def _fitting(wanted: Wanted, told: Iterable[Mapping[str, str]], query: str = "") -> list[Found]:
    """A server that does not know the key may answer with all that it has."""
    found = {
        one[Key.STUDY_UID]: Found(one[Key.STUDY_UID], one["PatientID"], query, number)
        for number, one in enumerate(told)
        if one[wanted.key] == wanted.value and re.fullmatch(DICOM_UID, one[Key.STUDY_UID])
    }
    return list(found.values())


def _text(value: Any) -> str:
    return value.strip(" \0") if isinstance(value, str) else ""


def _value(answer: Mapping[str, Any], tag: str) -> str:
    values = answer.get(tag, {}).get("Value") or [""]
    return _text(values[0])


def _failed_move(wanted: Wanted, job: Mapping[str, Any]) -> NotPulled:
    details = str(job.get("ErrorDetails", ""))
    found = _DIMSE_STATUS.search(details)
    status = job.get("DimseErrorStatus", int(found[1], 16) if found else None)
    if status == _UNKNOWN_DESTINATION:
        return NotPulled(
            f"{wanted.place} refused the C-MOVE, for it does not know this Orthanc: enter there "
            "its AE title (DicomAet), host and DicomPort"
        )
    if status == _PARTLY:
        return NotPulledYet(f"{wanted.place} could send a part of the study only")
    if status is not None:
        return NotPulledYet(
            f"{wanted.place} could not send the study (C-MOVE status 0x{status:04X}): see whether "
            "it knows this Orthanc's AE title, host and port"
        )
    if "timeout" in details.lower():
        return NotPulledYet(f"{wanted.place} did not answer the C-MOVE in time (DicomScuTimeout)")
    return NotPulledYet(f"the C-MOVE from {wanted.place} broke off")


def _failed_wado(wanted: Wanted, job: Mapping[str, Any]) -> NotPulled:
    described = job.get("Content", {}).get("FunctionErrorDescription")
    reason = described or job.get("ErrorDescription") or "no reason is given"
    return NotPulledYet(f"{wanted.place} could not give the study: {reason}")
