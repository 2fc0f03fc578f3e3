"""Where results go besides Orthanc itself: DICOM modalities, DICOMweb servers, the CT's sender.

Sending is always one of Orthanc's own asynchronous jobs. A call that waited for a dead modality
would hold Python's global lock, and with it every Python thread inside Orthanc.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orthanc_liver.engine.protocol import Kind
from orthanc_liver.host.delivery.ending import Ending, commitment_of, ending_of
from orthanc_liver.host.errors import CannotSend
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError, Series
from orthanc_liver.host.settings import AT_ONCE, Settings


class DestinationKind(StrEnum):
    """How a destination is named."""

    MODALITY = "Modality"
    DICOM_WEB = "DicomWeb"
    SENDER = "Sender"


@dataclass(frozen=True)
class Destination:
    """A name of DicomModalities or of DicomWeb.Servers, or the AE title of the CT's sender."""

    kind: DestinationKind
    name: str

    def as_json(self) -> dict[str, str]:
        """As in the settings."""
        return {str(self.kind): self.name}

    @classmethod
    def from_json(cls, shown: dict[str, str]) -> Destination:
        """The destination that as_json showed."""
        [(kind, name)] = shown.items()
        return cls(DestinationKind(kind), name)


@dataclass(frozen=True)
class Recipient:
    """Which kinds of objects go to a destination, and when; see Clearance.opens. is_to_commit: it
    is asked for storage commitment."""

    destination: Destination
    kinds: frozenset[str] = frozenset(Kind)
    when: str = AT_ONCE
    is_to_commit: bool = False

    def takes(self, kind: str) -> bool:
        """Whether such an object is to go there; results of old may not tell their kind."""
        return not kind or kind in self.kinds


def recipients_of(orthanc: Orthanc, settings: Settings, series: Series) -> list[Recipient]:
    """Where the result of a CT series goes; Missing where the series is gone."""
    senders = _senders(orthanc, series) if settings.return_to_sender else []
    returning = [Recipient(one, when=settings.send_after) for one in senders]
    return [*configured_recipients(settings), *returning]


def configured_recipients(settings: Settings) -> list[Recipient]:
    """Those that the settings name, in their order."""
    return [
        Recipient(
            Destination.from_json({key: one[key] for key in DestinationKind if key in one}),
            frozenset(one.get("Objects", Kind)),
            one.get("When", settings.send_after),
            one.get("Commitment", False),
        )
        for one in settings.destinations
    ]


def recipient_of(settings: Settings, destination: Destination, kind: str) -> Recipient:
    """How the settings want such an object to go there, if they still do."""
    of_settings = (
        one
        for one in configured_recipients(settings)
        if one.destination == destination and one.takes(kind)
    )
    return next(of_settings, Recipient(destination, when=settings.send_after))


def _senders(orthanc: Orthanc, series: Series) -> list[Destination]:
    """One for each AE title that sent instances by C-STORE; what came by HTTP has none."""
    aets: dict[str, None] = {}
    for instance in series.instances:
        try:
            said = orthanc.get_bytes(f"/instances/{instance}/metadata/RemoteAET")
        except Missing:
            continue
        # DICOM allows ASCII only; what a modality says all the same is in no encoding for certain.
        if aet := said.decode(errors="replace"):
            aets[aet] = None
    return [Destination(DestinationKind.SENDER, aet) for aet in aets]


class Sending:
    """Begins Orthanc's sending jobs and tells what became of them."""

    def __init__(self, orthanc: Orthanc, settings: Settings, dicom_web_root: str) -> None:
        self._orthanc = orthanc
        asked = [one for one in configured_recipients(settings) if one.is_to_commit]
        self._to_commit = {one.destination for one in asked}
        self._dicom_web = "/" + dicom_web_root.strip("/")

    def begin(self, destination: Destination, instances: list[str], *, proof: bool) -> str:
        """Return the id of Orthanc's job; CannotSend where there is none.

        proof: ask for storage commitment where the settings want it. The job does, for the call
        would wait for the other side.

        One job for each kind of object: of several Orthanc would not tell which one was refused.
        """
        try:
            if destination.kind is DestinationKind.DICOM_WEB:
                return self._stow(destination.name, instances)
            if destination.kind is DestinationKind.SENDER:
                return self._store(self._modality_of(destination.name), instances, proof=False)
            proof = proof and destination in self._to_commit
            return self._store(destination.name, instances, proof=proof)
        except OrthancError as error:
            raise CannotSend(str(error)) from error

    def ended(self, orthanc_job: str, *, is_of_one_kind: bool = False) -> Ending | None:
        """None while the job is not over; see ending_of.

        Missing where Orthanc no longer knows: it forgets all but its last JobsHistorySize jobs.
        """
        job = self._orthanc.get(f"/jobs/{orthanc_job}")
        return ending_of(job, is_of_one_kind=is_of_one_kind)

    def committed(self, transaction: str) -> Ending | None:
        """None while the destination has not answered.

        Missing where Orthanc no longer knows: it forgets all at its end, and the oldest before.
        """
        return commitment_of(self._orthanc.get(f"/storage-commitment/{transaction}"))

    def _store(self, modality: str, instances: list[str], *, proof: bool) -> str:
        if modality not in self._orthanc.get("/modalities"):
            raise CannotSend(f"Orthanc has no modality {modality!r} in DicomModalities")
        body = {"Resources": instances, "Asynchronous": True, "Permissive": False}
        body |= {"StorageCommitment": True} if proof else {}
        answer = self._orthanc.post(f"/modalities/{modality}/store", json.dumps(body).encode())
        return str(answer["ID"])

    def _stow(self, server: str, instances: list[str]) -> str:
        try:
            known = self._orthanc.get_of_plugin(f"{self._dicom_web}/servers")
        except Missing:
            raise CannotSend("Orthanc's DICOMweb plugin is not there") from None
        if server not in known:
            raise CannotSend(f"Orthanc has no DICOMweb server {server!r} in DicomWeb.Servers")
        body = {"Resources": instances, "Synchronous": False}
        answer = self._orthanc.post_to_plugin(
            f"{self._dicom_web}/servers/{server}/stow", json.dumps(body).encode()
        )
        return str(answer["ID"])

    def _modality_of(self, aet: str) -> str:
        modalities: dict[str, Any] = self._orthanc.get("/modalities?expand")
        names = [name for name, one in modalities.items() if one["AET"] == aet]
        if len(names) != 1:
            raise CannotSend(
                f"{len(names) or 'no'} modalities of DicomModalities have the sender's AE title, "
                f"{aet!r}; exactly one must have it"
            )
        return names[0]
