"""The few calls that we make of the Orthanc server, behind one small class.

Only what every version of the Python plugin from 4.0 on has is used. Each call holds Python's
global lock while it lasts, so each must be short.
"""

# ruff: noqa: N802, N803 (the names in the protocol are Orthanc's own)

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from orthanc_liver.host.errors import HostError

_UNKNOWN_RESOURCE = 17
_INEXISTENT_ITEM = 7
_BY_KEYWORD, _PUBLIC_WITHOUT_PIXELS, _OF_ANY_LENGTH = 3, 0, 0
# A file is gone, damaged or no DICOM.
_ABOUT_ONE_FILE = (13, 15, 20, 2006)


class RestOutput(Protocol):
    """Where the answer to a REST call goes."""

    def AnswerBuffer(self, answer: bytes | str, mimeType: str) -> None: ...
    def SendMethodNotAllowed(self, allowedMethods: str) -> None: ...
    def SetHttpHeader(self, key: str, value: str) -> None: ...

    # Three arguments in plugin 4.0, two from 4.2 on.
    SendHttpStatus: Callable[..., None]


class OrthancModule(Protocol):
    """What the `orthanc` module offers inside Orthanc, as far as it is used here."""

    OrthancException: type[Exception]
    ChangeType: Any
    ResourceType: Any

    def RestApiGet(self, uri: str) -> bytes: ...
    def RestApiPost(self, uri: str, body: bytes) -> bytes: ...
    def RestApiPut(self, uri: str, body: bytes) -> bytes: ...
    def RestApiDelete(self, uri: str) -> None: ...
    def RestApiGetAfterPlugins(self, uri: str) -> bytes: ...
    def RestApiPostAfterPlugins(self, uri: str, body: bytes) -> bytes: ...
    def GetDicomForInstance(self, instanceId: str) -> bytes: ...
    def DicomBufferToJson(
        self,
        buffer: bytes,
        format: int,  # noqa: A002 Orthanc's name
        flags: int,
        maxStringLength: int,
    ) -> str: ...
    def GetGlobalProperty(self, property: int, defaultValue: str) -> str: ...  # noqa: A002 Orthanc's name
    def SetGlobalProperty(self, property: int, value: str) -> None: ...  # noqa: A002 Orthanc's name
    def GetConfiguration(self) -> str: ...
    def LogWarning(self, message: str) -> None: ...
    def LogError(self, message: str) -> None: ...
    def RegisterRestCallback(self, uri: str, callback: Callable[..., None]) -> None: ...
    def RegisterOnChangeCallback(self, callback: Callable[..., None]) -> None: ...
    def ExtendOrthancExplorer(self, javascript: str) -> None: ...


class OrthancError(HostError):
    """Orthanc could not do what it was asked; str(error) is its own description."""


class Missing(OrthancError):
    """Orthanc has no such resource."""


class BadFile(OrthancError):
    """Orthanc is well, but not one of the files: it is gone, damaged or no DICOM."""


class ServerStopping(HostError):
    """Orthanc is going down and must not be called any more."""


@dataclass(frozen=True)
class Series:
    """One series as Orthanc's index tells of it; tags: its own, without those of its study;
    images and structure_sets: what the index tells of each image, and the instances that are none,
    where image_series looked."""

    id: str
    study: str
    instances: tuple[str, ...]
    tags: Mapping[str, str]
    is_stable: bool
    last_update: datetime
    structure_sets: tuple[str, ...] = ()
    images: tuple[Mapping[str, Any], ...] = ()

    @property
    def source_key(self) -> str:
        """The same for the same set of instances, in whatever order they came."""
        return hashlib.sha256("\n".join(sorted(self.instances)).encode()).hexdigest()

    def seconds_until_settled(self, now: datetime, stable_age_s: float) -> float:
        """How long until nothing has arrived for StableAge; 0 where that is so already.

        Orthanc alone does not tell: after a restart it calls every series stable.
        """
        age_s = (now - self.last_update).total_seconds()
        remaining_s = stable_age_s - age_s if 0 <= age_s < stable_age_s else 0.0
        return remaining_s if self.is_stable else max(remaining_s, 1.0)


class Orthanc:
    """Orthanc's REST API, files, properties and log. After `close` every call raises
    ServerStopping: a thread that still calls a stopping Orthanc would abort it."""

    def __init__(self, module: OrthancModule) -> None:
        self._module = module
        self._closed = False

    def close(self) -> None:
        """Refuse every further call."""
        self._closed = True

    def get(self, path: str) -> Any:
        """The JSON at a path of the REST API."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """The raw answer at a path of the REST API."""
        return bytes(self._call(self._module.RestApiGet, path))

    def post(self, path: str, body: bytes) -> Any:
        """The JSON that Orthanc answers to a POST."""
        return json.loads(self._call(self._module.RestApiPost, path, body))

    def get_of_plugin(self, path: str) -> Any:
        """The JSON at a path that another plugin of Orthanc serves."""
        return json.loads(self._call(self._module.RestApiGetAfterPlugins, path))

    def post_to_plugin(self, path: str, body: bytes) -> Any:
        """The JSON that another plugin of Orthanc answers to a POST."""
        return json.loads(self._call(self._module.RestApiPostAfterPlugins, path, body))

    def put(self, path: str, body: bytes) -> None:
        """Replace what is at a path."""
        self._call(self._module.RestApiPut, path, body)

    def delete(self, path: str) -> None:
        """Delete what is at a path."""
        self._call(self._module.RestApiDelete, path)

    def dicom_file(self, instance: str) -> bytes:
        """The DICOM file of an instance."""
        return bytes(self._call(self._module.GetDicomForInstance, instance))

    def modified(self, instance: str, replaced: Mapping[str, str]) -> bytes:
        """The file of an instance with other values; nothing of it is stored."""
        asked = {"Replace": replaced, "Force": True}
        path = f"/instances/{instance}/modify"
        return bytes(self._call(self._module.RestApiPost, path, json.dumps(asked).encode()))

    def attributes(self, dicom_file: bytes) -> dict[str, Any]:
        """A DICOM file's public attributes by keyword, without pixels; BadFile for no DICOM."""
        form = (_BY_KEYWORD, _PUBLIC_WITHOUT_PIXELS, _OF_ANY_LENGTH)
        try:
            text = self._call(self._module.DicomBufferToJson, dicom_file, *form)
        except OrthancError as error:  # whose number says no more than that something went wrong
            raise BadFile(str(error)) from error
        attributes: dict[str, Any] = json.loads(text)
        return attributes

    def series(self, series_id: str) -> Series:
        """What the index tells of a series; Missing where there is none."""
        series = self.get(f"/series/{series_id}")
        return Series(
            id=series["ID"],
            study=series["ParentStudy"],
            instances=tuple(series["Instances"]),
            tags=series["MainDicomTags"],
            is_stable=series["IsStable"],
            last_update=_utc(series.get("LastUpdate", "19700101T000000")),
        )

    def study_tags(self, series: Series) -> Mapping[str, str]:
        """The main DICOM tags of the study of a series; Missing where it is gone."""
        tags: Mapping[str, str] = self.get(f"/studies/{series.study}")["MainDicomTags"]
        return tags

    def instances_with(self, sop_instance_uid: str) -> list[str]:
        """Orthanc's ids of what it holds under a SOP Instance UID."""
        return self._look_up(sop_instance_uid, "Instance")

    def series_with(self, series_instance_uid: str) -> list[str]:
        """Orthanc's ids of the series that it holds under a Series Instance UID."""
        return self._look_up(series_instance_uid, "Series")

    def studies_with(self, study_instance_uid: str) -> list[str]:
        """Orthanc's ids of the studies that it holds under a Study Instance UID."""
        return self._look_up(study_instance_uid, "Study")

    def _look_up(self, uid: str, level: str) -> list[str]:
        found = self.post("/tools/lookup", uid.encode())
        return [one["ID"] for one in found if one["Type"] == level]

    def has_instance(self, instance: str) -> bool:
        """Whether Orthanc holds the instance."""
        try:
            self.get(f"/instances/{instance}")
        except Missing:
            return False
        return True

    def property(self, number: int) -> str:
        """The text kept under a number in Orthanc's database, empty where there is none."""
        return str(self._call(self._module.GetGlobalProperty, number, ""))

    def set_property(self, number: int, text: str) -> None:
        """Keep a text under a number in Orthanc's database."""
        self._call(self._module.SetGlobalProperty, number, text)

    def log(self, message: str) -> None:
        """A line in Orthanc's log for whoever looks after it."""
        self._call(self._module.LogWarning, f"orthanc-liver: {message}")

    def log_error(self, message: str) -> None:
        """A line in Orthanc's log about something that somebody must mend."""
        self._call(self._module.LogError, f"orthanc-liver: {message}")

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._closed:
            raise ServerStopping("Orthanc is stopping")
        try:
            return function(*arguments)
        except self._module.OrthancException as error:
            code = error.args[0] if error.args else 0
            if code in (_UNKNOWN_RESOURCE, _INEXISTENT_ITEM):
                raise Missing("there is no such resource") from error
            kind = BadFile if code in _ABOUT_ONE_FILE else OrthancError
            raise kind(str(error.args[-1]) if error.args else "unknown error") from error


def answer_json(output: RestOutput, answer: Any) -> None:
    """Answer 200 with JSON."""
    output.AnswerBuffer(json_text(answer), "application/json")


def json_text(answer: Any) -> str:
    """JSON as Orthanc itself lays it out; ASCII, so characters are bytes."""
    return json.dumps(answer, indent=2) + "\n"


def answer_error(output: RestOutput, status: int, answer: Mapping[str, Any]) -> None:
    """Answer an HTTP error with a JSON body."""
    text = json_text(answer)
    output.SetHttpHeader("Content-Type", "application/json")
    try:
        output.SendHttpStatus(status, text, len(text))
    except TypeError:
        output.SendHttpStatus(status, text)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
