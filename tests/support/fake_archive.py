"""What an Orthanc holds, in memory, and its REST API as far as the host and its tests use it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pydicom
from pydicom.errors import InvalidDicomError

_LEVELS = {"patients": "Patient", "studies": "Study", "series": "Series", "instances": "Instance"}
_UIDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_MAIN_TAGS = {
    "patients": ("PatientID",),
    "studies": ("StudyInstanceUID", "StudyDate", "StudyDescription"),
    "series": ("SeriesInstanceUID", "Modality", "SeriesDescription", "Manufacturer"),
    "instances": ("SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient"),
}
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_LONGEST_SHOWN = 256  # Orthanc's JSON leaves longer values out
UNKNOWN_RESOURCE, INEXISTENT_ITEM, BAD_FILE, UNTOLD = 17, 7, 15, -1


class OrthancException(Exception):
    """Orthanc's number of an error and its sentence, as the module raises it."""


class Unknown(OrthancException):
    """There is no such path, or nothing at it."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN_RESOURCE, "Unknown resource")


@dataclass
class Instance:
    """One file; parents: Orthanc's ids by level, its own included."""

    file: bytes
    dataset: pydicom.Dataset
    parents: dict[str, str]


@dataclass(frozen=True)
class Call:
    """One call of the REST API: what its path names, what stands behind "?", and the body."""

    method: str
    names: tuple[str, ...]
    query: dict[str, str]
    body: bytes


class Archive:
    """Outlives every FakeOrthanc that runs on it.

    takes: the modalities and DICOMweb servers that accept what is sent to them.
    sent: to whom and what, by the id of the sending job.
    commits: what is answered to storage commitment, "" where Orthanc forgot that it asked.
    forgets: Orthanc no longer knows its jobs. settings: those of Orthanc's that matter here.
    has_labels: as from 1.12 on.
    pages_finds: "Since" goes on beyond LimitFindResults, which it does not in 1.10.
    on_deleted: who hears of each series that is no more.
    """

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.notes: dict[str, dict[str, bytes]] = {}  # metadata and attachments by resource
        self.properties: dict[int, str] = {}
        self.changes: list[dict[str, Any]] = []
        self.last_seq = 0
        self.stable: set[str] = set()
        self.updated: dict[str, datetime] = {}
        self.arrived: Counter[str] = Counter()  # instances ever, by series
        self.modalities: dict[str, dict[str, Any]] = {}
        self.servers: dict[str, str] = {}  # their addresses by name
        self.takes: set[str] = set()
        self.sent: dict[str, tuple[str, list[str]]] = {}
        self.commits = "Success"
        self.asked_to_commit: dict[str, str] = {}  # transactions by the id of the sending job
        self.forgets = False
        self.settings: Mapping[str, Any] = {}
        self.pages_finds = False
        self.has_labels = True
        self.labels: dict[str, set[str]] = {}  # by study
        self.on_deleted: Callable[[str], None] = lambda series: None
        self._lock = threading.RLock()

    def rest(self, method: str, uri: str, body: bytes = b"") -> bytes:
        """The answer to a call; OrthancException where Orthanc refuses it."""
        address = urlsplit(uri)
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        for allowed, path, handler in _ROUTES:
            found = re.fullmatch(path, unquote(address.path))
            if found and method in allowed.split("|"):
                with self._lock:
                    answer = handler(self, Call(method, found.groups(), query, body))
                return answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        raise Unknown

    def attributes(self, file: bytes) -> str:
        """What DicomBufferToJson answers, by keyword and without pixels."""
        try:
            return json.dumps(_simple(pydicom.dcmread(BytesIO(file)), longest=None))
        except InvalidDicomError:
            raise OrthancException(UNTOLD, "Internal error") from None

    def settle(self, series: str) -> None:
        """Nothing arrived for StableAge."""
        with self._lock:
            self.stable.add(series)
            self.updated[series] = _LONG_AGO + timedelta(seconds=self.arrived[series])
            parents = self.instances[self._there("series", series)[0]].parents
            for level in ("series", "studies", "patients"):
                self._note_change(f"Stable{_LEVELS[level]}", level, parents[level])

    def _store(self, call: Call) -> Any:
        try:
            dataset = pydicom.dcmread(BytesIO(call.body))
        except InvalidDicomError:
            raise OrthancException(BAD_FILE, "Bad file format") from None
        uids = [str(dataset.get(keyword, "")) for keyword in _UIDS]
        parents = {level: _id(uids[: n + 1]) for n, level in enumerate(_LEVELS)}
        own = parents["instances"]
        if own in self.instances and self.settings.get("OverwriteInstances"):
            self._delete(Call("DELETE", ("instances", own), {}, b""))
        is_new = own not in self.instances
        if is_new:
            new = [level for level in _LEVELS if not self._below(level, parents[level])]
            self.instances[own] = Instance(call.body, dataset, parents)
            self.stable.discard(parents["series"])
            self.updated[parents["series"]] = datetime.now(UTC)
            self.arrived[parents["series"]] += 1
            for level in reversed(new):
                self._note_change(f"New{_LEVELS[level]}", level, parents[level])
        named = {f"Parent{_LEVELS[level]}": parents[level] for level in list(_LEVELS)[:3]}
        status = "Success" if is_new else "AlreadyStored"
        return {"ID": own, "Path": f"/instances/{own}", "Status": status} | named

    def _delete(self, call: Call) -> Any:
        level, resource = call.names
        gone = [self.instances.pop(one).parents["series"] for one in self._there(level, resource)]
        left = {known for one in self.instances.values() for known in one.parents.values()}
        self.changes = [change for change in self.changes if change["ID"] in left]
        self.notes = {known: notes for known, notes in self.notes.items() if known in left}
        for series in dict.fromkeys(gone):
            if series not in left:
                self.on_deleted(series)
        return {}

    def _list(self, call: Call) -> Any:
        [level] = call.names
        return list(dict.fromkeys(one.parents[level] for one in self.instances.values()))

    def _show(self, call: Call) -> Any:
        level, resource = call.names
        first = self.instances[self._there(level, resource)[0]]
        tags = {name: _text(first.dataset.get(name)) for name in _MAIN_TAGS[level]}
        shown: dict[str, Any] = {"ID": resource, "Type": _LEVELS[level]}
        shown["MainDicomTags"] = {name: text for name, text in tags.items() if text is not None}
        above = list(_LEVELS)[: list(_LEVELS).index(level)]
        if above:
            shown[f"Parent{_LEVELS[above[-1]]}"] = first.parents[above[-1]]
        if level == "studies":
            shown["Series"] = self._children(level, resource, "series")
        if level == "series":
            shown["Instances"] = self._there(level, resource)
            shown["IsStable"] = resource in self.stable
            shown["LastUpdate"] = self.updated[resource].strftime("%Y%m%dT%H%M%S")
        return shown

    def _show_children(self, call: Call) -> Any:
        level, resource, wanted = call.names
        ids = self._children(level, resource, wanted)
        return [self._show(Call("GET", (wanted, one), {}, b"")) for one in ids]

    def _show_parent(self, call: Call) -> Any:
        level, resource, wanted = call.names
        above = {"patient": "patients", "study": "studies", "series": "series"}[wanted]
        parent = self.instances[self._there(level, resource)[0]].parents[above]
        return self._show(Call("GET", (above, parent), {}, b""))

    def _file(self, call: Call) -> bytes:
        return self.instances[self._there("instances", call.names[0])[0]].file

    def _md5(self, call: Call) -> bytes:
        return hashlib.md5(self._file(call), usedforsecurity=False).hexdigest().encode()

    def _note_size(self, call: Call) -> bytes:
        level, resource, name = call.names
        note: bytes = self._note(Call("GET", (level, resource, name), {}, b""))
        return str(len(note)).encode()

    def _simplified(self, call: Call) -> Any:
        return _simple(self.instances[self._there("instances", call.names[0])[0]].dataset)

    def _modify(self, call: Call) -> bytes:
        dataset = deepcopy(self.instances[self._there("instances", call.names[0])[0]].dataset)
        for keyword, value in json.loads(call.body)["Replace"].items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        buffer = BytesIO()
        dataset.save_as(buffer)
        return buffer.getvalue()

    def _tags(self, call: Call) -> Any:
        dataset = self.instances[self._there("instances", call.names[0])[0]].dataset
        return {
            f"{element.tag.group:04x},{element.tag.element:04x}": {
                "Name": element.keyword,
                "Type": "String",
                "Value": _text(element.value) or "",
            }
            for element in dataset
            if element.VR not in ("SQ", "OB", "OW", "UN")
        }

    def _content(self, call: Call) -> bytes:
        instance, path = call.names
        found: Any = self.instances[self._there("instances", instance)[0]].dataset
        try:
            for step in path.split("/"):
                found = found[step.replace("-", "")].value if "-" in step else found[int(step)]
        except (KeyError, IndexError):
            raise Unknown from None
        text = _text(found) or ""
        return (text + " " * (len(text) % 2)).encode()  # as it is padded in the file

    def _note(self, call: Call) -> Any:
        level, resource, name = call.names
        self._there(level, resource)
        notes = self.notes.setdefault(resource, {})
        name = name.removesuffix("/data")
        if call.method != "PUT" and name not in notes:
            raise Unknown
        if call.method == "GET":
            return notes[name]
        notes.pop(name, None)
        if call.method == "PUT":
            notes[name] = call.body
        kind = "UpdatedMetadata" if name.startswith("metadata") else "UpdatedAttachment"
        self._note_change(kind, level, resource)
        return b""

    def _names_of_notes(self, call: Call) -> Any:
        level, resource = call.names
        self._there(level, resource)
        kept = [name for name in self.notes.get(resource, {}) if name.startswith("metadata/")]
        return ["RemoteAET", "LastUpdate", *(name.removeprefix("metadata/") for name in kept)]

    def _attach(self, call: Call) -> Any:
        if call.method == "DELETE" or self._below(call.names[0], call.names[1]):
            self._note(call)
        return {} if call.method == "PUT" else b""  # {} for a series that is not there, too

    def _changes(self, call: Call) -> Any:
        if "last" in call.query:
            return {"Changes": self.changes[-1:], "Done": True, "Last": self.last_seq}
        since, limit = int(call.query.get("since", 0)), int(call.query.get("limit", 100))
        later = [change for change in self.changes if change["Seq"] > since]
        shown = later[:limit]
        last = shown[-1]["Seq"] if shown else since
        return {"Changes": shown, "Done": len(later) <= limit, "Last": last}

    def _find(self, call: Call) -> Any:
        asked = json.loads(call.body)
        first, last = asked["Query"]["StudyDate"].split("-")
        dates: dict[str, str] = {}
        for one in self.instances.values():  # a study is dated by what came first
            dates.setdefault(one.parents["studies"], str(one.dataset.get("StudyDate", "")))
        found = [study for study, date in dates.items() if first <= date <= last]
        since, limit = asked.get("Since", 0), asked["Limit"]
        if most := self.settings.get("LimitFindResults"):
            limit = min(limit, most) if self.pages_finds else limit
            found = found if self.pages_finds else found[: most + 1]
        return found[since:][:limit]

    def _look_up(self, call: Call) -> Any:
        uid = call.body.decode()
        found = {
            one.parents[level]: level
            for one in self.instances.values()
            for level, keyword in zip(_LEVELS, _UIDS, strict=True)
            if one.dataset.get(keyword) == uid
        }
        return [
            {"ID": one, "Path": f"/{level}/{one}", "Type": _LEVELS[level]}
            for one, level in found.items()
        ]

    def _modalities(self, call: Call) -> Any:
        return self.modalities if "expand" in call.query else list(self.modalities)

    def _modality(self, call: Call) -> Any:
        self.modalities.pop(call.names[0], None)
        if call.method == "PUT":
            self.modalities[call.names[0]] = {"AET": json.loads(call.body)[0]}
        return {}

    def _servers(self, call: Call) -> Any:
        told = {name: {"Url": url} for name, url in self.servers.items()}
        return told if "expand" in call.query else list(told)

    def _send(self, call: Call) -> Any:
        if call.names[0] not in [*self.modalities, *self.servers]:
            raise OrthancException(INEXISTENT_ITEM, "Accessing an inexistent item")
        job = str(uuid.uuid4())
        asked = json.loads(call.body)
        self.sent[job] = (call.names[0], asked["Resources"])
        if asked.get("StorageCommitment"):
            self.asked_to_commit[job] = f"2.25.{len(self.sent)}"
        return {"ID": job, "Path": f"/jobs/{job}"}

    def _job(self, call: Call) -> Any:
        if call.names[0] not in self.sent or self.forgets:
            raise Unknown
        went_well = self.sent[call.names[0]][0] in self.takes
        problem = {} if went_well else {"ErrorDescription": "Error in the network protocol"}
        transaction = self.asked_to_commit.get(call.names[0])
        content = {"StorageCommitmentTransactionUID": transaction} if transaction else {}
        state = "Success" if went_well else "Failure"
        return {"ID": call.names[0], "State": state, "Content": content} | problem

    def _commitment(self, call: Call) -> Any:
        if not self.commits:
            raise Unknown
        return {"Status": self.commits, "Failures": []}

    def _system(self, call: Call) -> Any:
        return {"DicomAet": "ORTHANC"} | ({"HasLabels": True} if self.has_labels else {})

    def _labels(self, call: Call) -> Any:
        self._there("studies", call.names[0])
        return sorted(self.labels.get(call.names[0], set()))

    def _label(self, call: Call) -> Any:
        study, label = call.names
        self._there("studies", study)
        kept = self.labels.setdefault(study, set())
        kept.discard(label)
        if call.method == "PUT":
            kept.add(label)
        return b""

    def _below(self, level: str, resource: str) -> list[str]:
        return [name for name, one in self.instances.items() if one.parents[level] == resource]

    def _there(self, level: str, resource: str) -> list[str]:
        found = self._below(level, resource)
        if not found:
            raise Unknown
        return found

    def _children(self, level: str, resource: str, wanted: str) -> list[str]:
        below = self._there(level, resource)
        return list(dict.fromkeys(self.instances[one].parents[wanted] for one in below))

    def _note_change(self, kind: str, level: str, resource: str) -> None:
        self.last_seq += 1
        of = {"ID": resource, "ResourceType": _LEVELS[level], "Path": f"/{level}/{resource}"}
        self.changes.append({"Seq": self.last_seq, "ChangeType": kind} | of)


_ID = "([0-9a-f]{8}(?:-[0-9a-f]{8}){4})"
_ROUTES: list[tuple[str, str, Callable[[Archive, Call], Any]]] = [
    ("GET", "/system", Archive._system),
    ("GET", "/changes", Archive._changes),
    ("POST", "/instances", Archive._store),
    ("POST", "/tools/find", Archive._find),
    ("POST", "/tools/lookup", Archive._look_up),
    ("GET", "/(patients|studies|series|instances)", Archive._list),
    ("GET", f"/(patients|studies|series|instances)/{_ID}", Archive._show),
    ("DELETE", f"/(patients|studies|series|instances)/{_ID}", Archive._delete),
    ("GET", f"/(studies|series)/{_ID}/(series|instances)", Archive._show_children),
    ("GET", f"/(series|instances)/{_ID}/(patient|study|series)", Archive._show_parent),
    ("GET", f"/instances/{_ID}/file", Archive._file),
    ("GET", f"/instances/{_ID}/attachments/dicom/md5", Archive._md5),
    ("GET", f"/instances/{_ID}/simplified-tags", Archive._simplified),
    ("GET", f"/instances/{_ID}/tags", Archive._tags),
    ("POST", f"/instances/{_ID}/modify", Archive._modify),
    ("GET", f"/instances/{_ID}/content/(.+)", Archive._content),
    ("GET|PUT|DELETE", f"/(series|instances)/{_ID}/(metadata/[^/]+)", Archive._note),
    ("GET", f"/(series|instances)/{_ID}/metadata", Archive._names_of_notes),
    ("PUT|DELETE", f"/(series|instances)/{_ID}/(attachments/[^/]+)", Archive._attach),
    ("GET", f"/(series|instances)/{_ID}/(attachments/[^/]+/data)", Archive._note),
    ("GET", f"/(series|instances)/{_ID}/(attachments/[^/]+)/size", Archive._note_size),
    ("GET", f"/studies/{_ID}/labels", Archive._labels),
    ("PUT|DELETE", f"/studies/{_ID}/labels/([^/]+)", Archive._label),
    ("GET", "/modalities", Archive._modalities),
    ("PUT|DELETE", "/modalities/([^/]+)", Archive._modality),
    ("POST", "/modalities/([^/]+)/store", Archive._send),
    ("GET", "/dicom-web/servers", Archive._servers),
    ("POST", "/dicom-web/servers/([^/]+)/stow", Archive._send),
    ("GET", "/jobs/([^/]+)", Archive._job),
    ("GET", "/storage-commitment/([^/]+)", Archive._commitment),
]


def _id(uids: Iterable[str]) -> str:
    digest = hashlib.sha1("|".join(uids).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[n : n + 8] for n in range(0, 40, 8))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    several = isinstance(value, (list, pydicom.multival.MultiValue))
    return "\\".join(str(one) for one in value) if several else str(value)


def _simple(dataset: pydicom.Dataset, longest: int | None = _LONGEST_SHOWN) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for element in dataset:
        if element.VR == "SQ":
            shown[element.keyword] = [_simple(item, longest) for item in element.value]
        elif element.VR not in ("OB", "OW", "UN"):
            text = _text(element.value) or ""
            shown[element.keyword] = text if longest is None or len(text) <= longest else None
    return shown
