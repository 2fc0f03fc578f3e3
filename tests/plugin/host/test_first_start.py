"""The first start with our plugin, wrong settings, and a hospital's own script."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.plugin.host.conftest import Host, error_of
from tests.support.orthanc_server import CHECKOUT, OrthancServer
from tests.support.patience import wait_for


def test_the_first_start_takes_only_what_arrives_from_then_on(tmp_path: Path) -> None:
    host = Host(tmp_path)
    ours = host.orthanc.overrides
    host.orthanc.overrides = {"StableAge": 1, "PythonScript": None}
    with host.orthanc.until_killed():
        old = host.upload("an old study")
        host.stable(old)
        host.orthanc.kill9()
        host.orthanc.overrides = ours
        host.orthanc.start()
        new = host.upload("a new study")
        assert host.ended_job_of(new)["State"] == "Success"
        assert host.jobs_of(old) == []
        # The second start does not fall back on the old ones either.
        host.orthanc.kill9()
        host.orthanc.start()
        host.ended_job_of(host.upload("a newer study"))
        assert host.jobs_of(old) == []
        # When somebody asks, they are taken.
        host.job(host.segment(old), "Success")


def test_wrong_settings_leave_orthanc_up_and_lose_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, MinimumSlice=3, Device="gpu")
    with host.orthanc.until_killed():
        status = host.orthanc.get("/liver/status")
        assert status["SettingsProblems"] == [
            "LiverSegmentation.MinimumSlice: there is no such setting; did you mean MinimumSlices?",
            'LiverSegmentation.Device: must be "auto", "cpu", "cuda" or "cuda:N"',
        ]
        assert status["Automatic"] is False
        wait_for("the log tells too", lambda: "did you mean MinimumSlices" in host.orthanc.log())
        series_id = host.upload("while the settings were wrong")
        host.stable(series_id)
        answer = host.orthanc.call("POST", f"/liver/series/{series_id}/segment")
        assert error_of(answer)[0] == 503
        assert host.engine.starts() == []
        host.orthanc.kill9()
        mended = Host(tmp_path)
        host.orthanc.overrides = mended.orthanc.overrides
        host.orthanc.start()
        assert host.orthanc.get("/liver/status")["SettingsProblems"] == []
        assert host.ended_job_of(series_id)["State"] == "Success"


def test_what_a_plugin_cannot_work_with_is_told_not_fought(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.orthanc.overrides = {**host.orthanc.overrides, "CheckRevisions": True}
    with host.orthanc.until_killed():
        [problem] = host.orthanc.get("/liver/status")["SettingsProblems"]
        assert problem.startswith("CheckRevisions")


def test_an_engine_that_does_not_start_fails_no_job(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.engine.behave(start="failed")
    with host.orthanc.until_killed():
        wait_for("problem", lambda: host.orthanc.get("/liver/status")["EngineProblem"])
        status = host.orthanc.get("/liver/status")
        assert status["Engine"] == "unavailable"
        assert status["EngineProblem"] == "the scripted engine has no weights"
        series_id = host.upload("waits for an engine")
        job = host.job(host.segment(series_id), "Pending")
        host.engine.behave()
        assert host.job(job["ID"], "Success")["Content"]["Attempt"] == 1
        assert host.orthanc.get("/liver/status")["EngineProblem"] == ""


def test_automatic_off_segments_only_what_is_asked_for(tmp_path: Path) -> None:
    host = Host(tmp_path, Automatic=False)
    with host.orthanc.until_killed():
        series_id = host.upload("not by itself")
        host.stable(series_id)
        other = host.upload("asked for")
        host.job(host.segment(other), "Success")
        assert host.jobs_of(series_id) == []
        assert host.orthanc.get("/liver/status")["Automatic"] is False


OWN_SCRIPT = """
import orthanc, sys
sys.path.insert(0, {plugin!r})
from orthanc_liver.host.plugin import register

def on_change(change, level, resource):
    if change == orthanc.ChangeType.STABLE_SERIES:
        orthanc.LogWarning("the hospital's own script saw " + resource)
    if change == orthanc.ChangeType.NEW_PATIENT:
        raise RuntimeError("a fault in the hospital's own script")

register(orthanc, also=on_change)
"""


def test_a_hospital_keeps_its_own_script(tmp_path: Path) -> None:
    script = tmp_path / "hospital.py"
    script.write_text(OWN_SCRIPT.format(plugin=str(CHECKOUT / "plugin")))
    host = Host(tmp_path)
    host.orthanc.overrides = {**host.orthanc.overrides, "PythonScript": str(script)}
    with host.orthanc.until_killed():
        series_id = host.upload("own script")
        assert host.ended_job_of(series_id)["State"] == "Success"
        wait_for("own", lambda: f"own script saw {series_id}" in host.orthanc.log())


def test_the_documented_script_of_a_hospital(tmp_path: Path) -> None:
    documentation = (CHECKOUT / "docs" / "INSTALL.md").read_text()
    [shown] = re.findall(r"```python\n(.*?)```", documentation, re.DOTALL)
    script = tmp_path / "hospital.py"
    assert "/opt/orthanc-liver/plugin" in shown
    script.write_text(shown.replace("/opt/orthanc-liver", str(CHECKOUT)))
    host = Host(tmp_path)
    host.orthanc.overrides = {**host.orthanc.overrides, "PythonScript": str(script)}
    with host.orthanc.until_killed():
        series_id = host.upload("documented script")
        assert host.ended_job_of(series_id)["State"] == "Success"
        study = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
        wait_for("own", lambda: f"own script saw a stable study, {study}" in host.orthanc.log())
        explorer = host.orthanc.call("GET", "/plugins/explorer.js").text
        assert "the hospital was here" in explorer
        assert "Segment liver" in explorer


@pytest.mark.parametrize("broken", ["ChangeType", "RegisterRestCallback", "GetConfiguration"])
def test_registering_never_takes_orthanc_down(tmp_path: Path, broken: str) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        f"import orthanc, sys, types\nsys.path.insert(0, {str(CHECKOUT / 'plugin')!r})\n"
        "from orthanc_liver.host.plugin import register\n"
        "module = types.SimpleNamespace(**{n: getattr(orthanc, n) for n in dir(orthanc)})\n"
        f"del module.{broken}\n"
        "register(module)\n"
    )
    server = OrthancServer(tmp_path, {"PythonScript": str(script)})
    with server.until_killed():
        assert server.get("/system")["DicomAet"] == "ORTHANC"
        assert "orthanc-liver is not available: AttributeError" in server.log()
