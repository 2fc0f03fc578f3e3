"""Outlines that become worse are told of; what came back outlives a restart, and not its study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import pytest

from orthanc_liver.host.delivery import webhook as webhook_module
from tests.plugin.host.conftest import FakeHost, Host
from tests.plugin.host.quality.drawn import (
    compared,
    comparisons,
    ct,
    liver,
    restarted_with_cases,
    returned,
    segmented,
)
from tests.plugin.host.web.test_metrics import ask
from tests.support.patience import wait_for

STEADY = [0.95, 0.96, 0.955] * 8
WEBHOOK = {"Url": "https://hook.example/liver", "Secret": "0123456789abcdef"}


def chart_of(host: Host) -> dict[str, Any]:
    """That of the newest case."""
    charts: list[dict[str, Any]] = host.orthanc.get("/liver/quality/chart")
    return charts[0]


def test_a_case_beyond_is_told_in_the_log_the_metrics_and_the_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def posted(url: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
        told.append(json.loads(body))
        return 204

    monkeypatch.setattr(webhook_module, "_posted", posted)
    host = FakeHost(tmp_path, QualityFirstCases=20, Webhook=WEBHOOK)
    with host.orthanc:
        host.ready()
        _, series_id = segmented(host, "the newest case")
        series, other_id = segmented(host, "the last one")
        assert host.orthanc.get("/liver/quality/chart") == []
        assert ask(host)["liver_quality_cases", ()] == 0
        compared(host, other_id, returned(host, liver(series)))
        cases = restarted_with_cases(host, STEADY)
        assert chart_of(host)["MeanDsc"] is None
        assert chart_of(host)["Cases"] == len(cases)

        host.engine.behave(dsc=0.957)
        found = returned(host, liver(series))
        compared(host, other_id, found)
        chart = chart_of(host)
        assert (chart["FirstCases"], chart["Rules"]) == (20, [])
        assert chart["MeanDsc"] == pytest.approx(0.955, abs=0.001)
        assert [one["SlowDsc"] is None for one in chart["Points"]] == [*[True] * 20, *[False] * 5]
        assert "outlines have become worse" not in host.orthanc.log()

        host.engine.behave(dsc=0.7)
        found = returned(host, liver(series))
        compared(host, other_id, found)
        wait_for("the log", lambda: "outlines have become worse" in host.orthanc.log())
        line = f"Dsc=0.7 MeanDsc={chart['MeanDsc']}"
        assert line in host.orthanc.log()
        assert chart_of(host)["Rules"] == ["beyond"]
        samples = ask(host)
        assert samples["liver_quality_alarm", (("rule", "beyond"),)] == 1
        assert samples["liver_quality_alarm", (("rule", "in a row"),)] == 0
        [notice] = wait_for("the webhook", lambda: [one for one in told if "Rules" in one])
        assert (notice["Event"], notice["Rules"]) == ("outlines have become worse", "beyond")
        assert (notice["Instance"], notice["Dsc"]) == (found, 0.7)
        assert comparisons(host, series_id) == []


def test_what_came_back_outlives_a_restart_and_not_its_study(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    with host.orthanc:
        host.ready()
        series, series_id = segmented(host, "restarted with it")
        before = compared(host, series_id, returned(host, liver(series)))
        host.engine.behave(dsc=-1)
        cut_off = returned(host, liver(series))
        wait_for("its comparison", lambda: len(host.engine.comparisons()) > 1)
        host.orthanc.kill9()
        host.engine.behave(dsc=0.93)
        host.orthanc.start()
        assert compared(host, series_id, cut_off)["Dsc"] == 0.93
        assert before in comparisons(host, series_id)
        study = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
        host.orthanc.call("DELETE", f"/studies/{study}")
        wait_for("its end", lambda: host.orthanc.get("/liver/quality/chart") == [])
        assert series_id not in host.orthanc.archive.properties[4506]


def test_a_process_that_ends_is_tried_again_and_then_said_to_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "orthanc_liver.host.quality.quality_control.growing_wait_s", lambda failures: 0.1
    )
    host = FakeHost(tmp_path)
    with host.orthanc:
        host.ready()
        series, series_id = segmented(host, "always ends")
        host.engine.behave(dsc=-1)
        found = compared(host, series_id, returned(host, liver(series)))
        assert "was ended by SIGKILL" in found["Reason"]
        assert len(host.engine.comparisons()) == 3
        host.engine.behave()
        assert compared(host, series_id, returned(host, liver(series)))["Dsc"] == 0.9


def test_what_comes_back_is_compared_where_people_ask_for_segmentations(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, Automatic=False)
    with host.orthanc:
        host.ready()
        series = ct("asked for")
        series_id = host.store(series)
        host.job(host.segment(series_id), "Success")
        assert compared(host, series_id, returned(host, liver(series)))["Dsc"] == 0.9
        assert len(host.orthanc.get("/liver/jobs")) == 1
