"""A study's labels tell what came of it; where Orthanc has none, that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.host.jobs.study_labels import StudyLabels
from orthanc_liver.host.server.api import OrthancError
from tests.plugin.host.conftest import HOSTS, FakeHost, Host
from tests.plugin.host.review.test_decisions import accept, reject
from tests.support.patience import wait_for


@pytest.fixture(params=HOSTS)
def labelling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    host = HOSTS[request.param](tmp_path, Labels=True)
    with host.orthanc.until_killed():
        host.ready()
        if not host.orthanc.get("/system").get("HasLabels"):
            problem = host.orthanc.get("/liver/status")["LabelsProblem"]
            assert problem.startswith("Labels is set, but this Orthanc has no labels")
            assert problem in host.orthanc.log()
            job = host.ended_job_of(host.upload("without labels"))
            assert job["State"] == "Success"
            pytest.skip("this Orthanc has no labels, and says so")
        yield host


def labels_of(host: Host, job: dict[str, Any]) -> list[str]:
    return sorted(host.orthanc.get(f"/studies/{job['Content']['Study']}/labels"))


def once(host: Host, job: dict[str, Any], *labels: str) -> None:
    wait_for(f"the labels {labels}", lambda: labels_of(host, job) == sorted(labels))


def test_the_grade_then_what_a_person_decided(labelling: Host) -> None:
    host = labelling
    host.engine.behave(grade="look")
    series_id = host.upload("labelled")
    job = host.ended_job_of(series_id)
    once(host, job, "liver-look")
    others = f"/studies/{job['Content']['Study']}/labels/ward-7"
    host.orthanc.call("PUT", others).raise_for_status()
    accept(host, series_id)
    once(host, job, "liver-accepted", "ward-7")
    reject(host, series_id)
    once(host, job, "ward-7")
    host.engine.behave("no liver found")
    host.job(host.segment(series_id, Force=True), "Success")
    once(host, job, "ward-7")
    assert host.orthanc.get("/liver/status")["LabelsProblem"] == ""


def test_what_a_kill_kept_from_being_set_is_set_at_the_next_start(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, Labels=True)
    host.engine.behave(grade="sure")
    with host.orthanc:
        job = host.ended_job_of(host.upload("killed before the label"))
        once(host, job, "liver-sure")
        host.orthanc.kill9()
        host.orthanc.archive.labels.clear()
        host.orthanc.start()
        once(host, job, "liver-sure")


def test_a_label_that_fails_costs_no_result_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = FakeHost(tmp_path, Labels=True)
    host.engine.behave(grade="sure")

    def fails(labels: StudyLabels, study: str) -> None:
        raise OrthancError("the disk is full")

    with host.orthanc:
        monkeypatch.setattr(StudyLabels, "_set", fails)
        assert host.ended_job_of(host.upload("no label"))["State"] == "Success"
        wait_for("the problem", lambda: host.orthanc.get("/liver/status")["LabelsProblem"])
        assert "the labels of a study could not be set" in host.orthanc.log()


def test_without_the_setting_no_study_is_labelled(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.engine.behave(grade="sure")
    with host.orthanc:
        job = host.ended_job_of(host.upload("not labelled"))
        host.idle()
        assert labels_of(host, job) == []
