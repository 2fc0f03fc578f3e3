"""A study that another server is to give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from orthanc_liver.identifiers import DICOM_UID

_MOST_CHARS = 64


class Way(StrEnum):
    """How a study comes here, and how its source is named."""

    MODALITY = "Modality"
    DICOM_WEB = "DicomWeb"


class Key(StrEnum):
    """What a study is asked for by."""

    ACCESSION_NUMBER = "AccessionNumber"
    STUDY_UID = "StudyInstanceUID"


@dataclass(frozen=True)
class Wanted:
    """source: a name of DicomModalities or of DicomWeb.Servers."""

    way: Way
    source: str
    key: Key
    value: str

    @property
    def problem(self) -> str:
        """What is wrong with the value, which is not told; empty where nothing is."""
        if self.key is Key.STUDY_UID:
            is_uid = re.fullmatch(DICOM_UID, self.value)
            return "" if is_uid else "StudyInstanceUIDs must be DICOM UIDs"
        # The others are wildcards, and what parts several values.
        is_plain = re.fullmatch(r"[^*?\\]+", self.value) and self.value.isprintable()
        if is_plain and len(self.value) <= _MOST_CHARS and self.value == self.value.strip():
            return ""
        return (
            f"AccessionNumbers must be texts of at most {_MOST_CHARS} characters, without blanks "
            "around them and without *, ? and \\"
        )

    @property
    def place(self) -> str:
        """The source, for a sentence."""
        kind = "modality" if self.way is Way.MODALITY else "DICOMweb server"
        return f"{kind} {self.source}"

    def as_json(self) -> dict[str, str]:
        """As it is shown, and as it is kept."""
        return {str(self.way): self.source, str(self.key): self.value}


@dataclass(frozen=True)
class Failed:
    """A study that could not be had, and why."""

    wanted: Wanted
    reason: str

    def as_json(self) -> dict[str, str]:
        """As it is shown, and as it is kept."""
        return self.wanted.as_json() | {"Reason": self.reason}
