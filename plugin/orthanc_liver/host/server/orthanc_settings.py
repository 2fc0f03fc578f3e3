"""What Orthanc's own configuration says, as far as it concerns us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_liver.host.server.web_servers import WebServer, web_servers_of

_STABLE_AGE_S = 60
# Orthanc's database plugins, each with a section of its own.
_DATABASES = ("PostgreSQL", "MySQL", "Odbc")


@dataclass(frozen=True)
class OrthancSettings:
    """Read as Orthanc reads it. find_limit: LimitFindResults, 0 where there is none."""

    stable_age_s: float
    find_limit: int
    dicom_web_root: str
    web_servers: Mapping[str, WebServer]
    problems: tuple[str, ...]


def read_orthanc_settings(configuration: Mapping[str, Any], *, sends: bool) -> OrthancSettings:
    """problems: one sentence for each setting with which no job may run; sends: results go on."""
    problems = []
    if configuration.get("CheckRevisions"):
        problems.append(
            "CheckRevisions must be false: with it a plugin cannot keep its notes in Orthanc"
        )
    if sends and configuration.get("JobsHistorySize") == 0:
        problems.append(
            "JobsHistorySize must not be 0 where results are sent: Orthanc would forget at once "
            "whether they arrived"
        )
    database = next((name for name in _DATABASES if _has_index(configuration, name)), "")
    if database and not configuration.get("DatabaseServerIdentifier"):
        problems.append(
            f"DatabaseServerIdentifier must be set with {database}, to a name of this server that "
            "never changes: by default it follows network address, ports and AE title, and with "
            "another one what the plugin keeps there is lost"
        )
    return OrthancSettings(
        stable_age_s=float(configuration.get("StableAge", 0)) or _STABLE_AGE_S,
        find_limit=int(configuration.get("LimitFindResults", 0)),
        dicom_web_root=_dicom_web_root(configuration.get("DicomWeb")),
        web_servers=web_servers_of(configuration),
        problems=tuple(problems),
    )


def _dicom_web_root(section: Any) -> str:
    root = section.get("Root") if isinstance(section, dict) else None
    return root if isinstance(root, str) else "/dicom-web/"


def _has_index(configuration: Mapping[str, Any], database: str) -> bool:
    section = configuration.get(database)
    return isinstance(section, dict) and section.get("EnableIndex") is True
