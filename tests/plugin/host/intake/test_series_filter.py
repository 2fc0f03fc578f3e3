"""What the setting Filter admits, and that no value holds it up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orthanc_liver.host.filter_pattern import is_found, problem_of
from orthanc_liver.host.intake.series_filter import why_not
from orthanc_liver.host.server.api import Series
from orthanc_liver.host.settings import Settings


def reason(pattern: str, description: str) -> str | None:
    series = Series(
        "id", "study", ("one",) * 20, {"Modality": "CT"}, True, datetime(2026, 1, 2, tzinfo=UTC)
    )
    settings = Settings(filter={"StudyDescription": pattern})
    return why_not(series, {"StudyDescription": description}, settings)


def test_a_value_counts_up_to_its_256th_character() -> None:
    assert reason("venous$", "x" * 250 + "venous") is None
    assert reason("venous", "x" * 250 + "venous phase") is None
    said = reason("venous", "x" * 251 + "venous")
    assert said == "StudyDescription of the series does not match the filter 'venous'"


@pytest.mark.parametrize(
    "pattern",
    [
        ".*?.*?x",
        "(.*)(.*)x",
        "(a|ab?|.)(a|.)(a|.).*x",
        "a?" * 17 + "x",
        "(|a)" * 16 + "x",
        "(?:a|aa|aaa|aaaa){8}x",
        "[ab]*[ab]*" + "[ab]" * 40 + "x",
    ],
)
def test_the_slowest_patterns_that_are_taken_end(pattern: str) -> None:
    assert problem_of(pattern) is None
    assert not is_found(pattern, "a" * 100_000)
