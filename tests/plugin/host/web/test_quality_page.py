"""The control charts in a real browser, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugin.host.conftest import Host
from tests.plugin.host.quality.drawn import (
    compared,
    liver,
    restarted_with_cases,
    returned,
    segmented,
)
from tests.support.axe import serious_faults
from tests.support.browser import DESKTOP, PHONE, Browser, needs_browser
from tests.support.patience import wait_for

pytestmark = needs_browser
STEADY = [0.953, 0.961, 0.949, 0.957, 0.964, 0.951, 0.942, 0.959]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("quality page"), QualityFirstCases=40)
    with one.orthanc.until_killed():
        one.ready()
        yield one


def test_the_chart_and_the_review_page_tell_what_came_back(host: Host, window: Browser) -> None:
    window.resize(DESKTOP)
    window.speak("en-GB,en")
    series, series_id = segmented(host, "looked at")
    window.open(f"{host.orthanc.url}/liver/quality/page")
    window.see("#empty", "No physician's outline has come back yet.")
    compared(host, series_id, returned(host, liver(series)))
    worse = [0.93, 0.941, 0.925, 0.938, 0.929, 0.94, 0.931, 0.922, 0.935, 0.93]
    cases = restarted_with_cases(host, [*STEADY * 7, *worse])
    host.engine.behave(dsc=0.81)
    compared(host, series_id, returned(host, liver(series)))

    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#quality").click()
    window.see("h2", "scripted (aaaaaaaaaaaa)")
    window.see(".rules.broken", "The newest case breaks a rule: beyond")
    window.see(".limits", "67 cases; of the first 40 the mean is 0.95")
    assert (
        count(window, "svg .first"),
        count(window, "svg .case") + count(window, "svg .broken"),
    ) == (40, 27)
    assert count(window, "svg .broken") >= 2  # the slow mean, and the last one
    window.see(".cases li:first-child", "DSC 0.810, surfaces 1.5 mm apart")
    assert count(window, ".cases li") == 20
    window.screenshot("quality")
    assert serious_faults(window) == []
    window.resize(PHONE)
    wait_for("it to fit a phone", lambda: window.fits(PHONE))
    window.screenshot("quality-phone")
    window.resize(DESKTOP)
    window.speak("de-DE,de")
    window.dim(is_dark=True)
    window.open(f"{host.orthanc.url}/liver/quality/page")
    window.see(".rules.broken", "Der neueste Fall verletzt eine Regel: außerhalb")
    window.screenshot("quality-german")
    window.dim(is_dark=False)
    window.speak("en-GB,en")
    window.see(".cases li:first-child a").click()
    window.see("#returned", "RTSTRUCT, 2025-03-04, unapproved: DSC 0.810")
    window.screenshot("quality-review")
    assert len(cases) == 66


def count(window: Browser, css: str) -> int:
    found = "return document.querySelectorAll(arguments[0]).length"
    return int(window.driver.execute_script(found, css))
