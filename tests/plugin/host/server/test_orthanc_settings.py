"""What is read of Orthanc's own settings, as Orthanc reads it."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_liver.host.server.orthanc_settings import read_orthanc_settings


def problems_of(configuration: dict[str, Any], *, sends: bool = True) -> tuple[str, ...]:
    return read_orthanc_settings(configuration, sends=sends).problems


@pytest.mark.parametrize(
    ("configuration", "seconds"), [({}, 60), ({"StableAge": 0}, 60), ({"StableAge": 7}, 7)]
)
def test_no_stable_age_is_a_minute(configuration: dict[str, Any], seconds: float) -> None:
    assert read_orthanc_settings(configuration, sends=True).stable_age_s == seconds


@pytest.mark.parametrize("section", [None, 1, [], {"Root": None}])
def test_what_is_no_section_of_dicom_web_takes_nothing_away(section: Any) -> None:
    found = read_orthanc_settings({"DicomWeb": section}, sends=True)
    assert (found.dicom_web_root, found.web_servers) == ("/dicom-web/", {})


@pytest.mark.parametrize("database", ["PostgreSQL", "MySQL", "Odbc"])
def test_a_database_plugin_needs_a_name_of_the_server(database: str) -> None:
    [problem] = problems_of({database: {"EnableIndex": True}})
    assert problem.startswith(f"DatabaseServerIdentifier must be set with {database}")
    named = {"DatabaseServerIdentifier": "radiology", database: {"EnableIndex": True}}
    assert problems_of(named) == ()


@pytest.mark.parametrize(
    "configuration", [{}, {"PostgreSQL": {}}, {"MySQL": {"EnableIndex": False}}, {"MySQL": "none"}]
)
def test_no_other_database_needs_one(configuration: dict[str, Any]) -> None:
    assert problems_of(configuration) == ()


def test_a_history_of_jobs_is_needed_only_to_send() -> None:
    [problem] = problems_of({"JobsHistorySize": 0})
    assert problem.startswith("JobsHistorySize must not be 0")
    assert problems_of({"JobsHistorySize": 0}, sends=False) == ()
    assert problems_of({"JobsHistorySize": 1}) == ()
