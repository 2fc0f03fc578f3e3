"""What one series to be segmented elsewhere is, as text for a broker: references, never pixels.

{"protocol": 1, "orthanc": ..., "key": ..., "case": {...}}: the first three stay as they are in
every version, so that a worker of another one can say whom it refuses. The key is the SHA-256 of
the case, so the same case of the same job has the same key whenever it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from orthanc_liver.engine.protocol import JobSettings, typed
from orthanc_liver.identifiers import DICOM_UID, JOB, MD5, RESOURCE, SHA256

PROTOCOL = 1
# What an Orthanc may be called at the broker: it becomes part of a queue's name.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
# An instance takes 80 bytes.
MAX_BYTES = 4 * 1024**2

_UID_OR_NONE = f"(?:{DICOM_UID})?"


class NoCase(ValueError):
    """str(error) says what is wrong with a message, without anything of its content."""


@dataclass(eq=False)
class AnotherProtocol(NoCase):
    """The message is for workers of another version."""

    orthanc: str
    key: str
    job: str
    protocol: int

    def __str__(self) -> str:
        return not_the_same(orthanc=self.protocol, worker=PROTOCOL)


@dataclass(frozen=True)
class Case:
    """The series of an Orthanc, by its name at the broker, for one attempt of a job.

    md5: of each of the instances, which are Orthanc's ids. The UIDs are for DICOMweb, which knows
    no ids. limit_s: for how long it may compute.
    """

    orthanc: str
    job: str
    attempt: int
    series: str
    study_uid: str
    series_uid: str
    instances: tuple[str, ...]
    md5: tuple[str, ...]
    settings: JobSettings
    model_sha256: str
    limit_s: int

    def __post_init__(self) -> None:
        _match("Orthanc's name", NAME, self.orthanc)
        _match("job", JOB, self.job)
        _match("series", RESOURCE, self.series)
        _match("study's UID", _UID_OR_NONE, self.study_uid)
        _match("series' UID", _UID_OR_NONE, self.series_uid)
        _match("model", SHA256, self.model_sha256)
        for instance in self.instances:
            _match("instance", RESOURCE, instance)
        for md5 in self.md5:
            _match("MD5", MD5, md5)
        if not self.instances or len(self.instances) != len(self.md5):
            raise NoCase("a case has as many check sums as instances, and at least one")
        if len(set(self.instances)) != len(self.instances):
            raise NoCase("a case names an instance twice")
        if self.limit_s < 1 or self.attempt < 1:
            raise NoCase("a case has no limit or no attempt")

    @property
    def key(self) -> str:
        """Names this case among all others, and the same one again."""
        return _key(asdict(self))

    def as_text(self) -> str:
        """The message."""
        case = asdict(self)
        whole = {"protocol": PROTOCOL, "orthanc": self.orthanc, "key": _key(case), "case": case}
        return json.dumps(whole)


def uid_or_none(text: str) -> str:
    """The UID where it is one; of another form a series is fetched without it, or not at all."""
    return text if re.fullmatch(_UID_OR_NONE, text) else ""


def not_the_same(*, orthanc: int, worker: int) -> str:
    """What is to be done where Orthanc and a worker speak different versions of the protocol."""
    older = "Orthanc's" if orthanc < worker else "the worker's"
    return (
        f"Orthanc speaks version {orthanc} of the workers' protocol and the worker version "
        f"{worker}: install the same orthanc-liver on both; {older} is older"
    )


def read_case(text: str) -> Case:
    """The case of a message; AnotherProtocol for one of another version, NoCase for rubbish."""
    if len(text) > MAX_BYTES:
        raise NoCase("the message is too long for a case")
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        raise NoCase("the message is not JSON") from None
    if not isinstance(whole, dict):
        raise NoCase("the message is no JSON object")
    _refuse_another_protocol(whole)
    if set(whole) != {"protocol", "orthanc", "key", "case"}:
        raise NoCase("the message's fields are not those of a case")
    try:
        case: Case = typed(Case, whole["case"])
    except NoCase:
        raise
    except Exception:  # noqa: BLE001 whatever the reading stumbles over
        raise NoCase("the message's case is not one") from None
    if whole["orthanc"] != case.orthanc or whole["key"] != case.key:
        raise NoCase("the message's key is not that of its case")
    return case


def _refuse_another_protocol(whole: dict[str, Any]) -> None:
    protocol, orthanc, key, case = (
        whole.get(name) for name in ("protocol", "orthanc", "key", "case")
    )
    if type(protocol) is not int:
        raise NoCase("the message names no version of the protocol")
    if protocol == PROTOCOL:
        return
    _match("Orthanc's name", NAME, orthanc)
    _match("key", SHA256, key)
    job = case.get("job") if isinstance(case, dict) else None
    _match("job", JOB, job)
    raise AnotherProtocol(str(orthanc), str(key), str(job), protocol)


def _match(what: str, pattern: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise NoCase(f"the message's {what} is not one")


def _key(case: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(case, sort_keys=True).encode()).hexdigest()
