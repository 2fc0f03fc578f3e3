"""Which model computes, which may not, and which computes beside it without leaving an outline."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.host.conftest import FakeHost, Host, RealEngineHost, error_of
from tests.plugin.host.quality.drawn import (
    compared,
    comparisons,
    liver,
    looked_at,
    returned,
    segmented,
)
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import write_ct_series
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import wait_for

FIRST, SECOND = "a" * 64, "b" * 64


def weights(folder: Path, sha256: str = SECOND) -> str:
    """A folder of weights, as far as the scripted engine reads it."""
    folder.mkdir()
    (folder / "liver.json").write_text(json.dumps({"name": "second", "sha256": sha256}))
    return str(folder)


def restarted(host: Host, **ours: Any) -> None:
    """Start it anew with other settings."""
    host.orthanc.kill9()
    settings = {**host.orthanc.overrides["LiverSegmentation"], **ours}
    host.orthanc.overrides = {**host.orthanc.overrides, "LiverSegmentation": settings}
    host.orthanc.start()


def model_of(host: Host, series_id: str) -> str:
    return str(host.jobs_of(series_id)[-1]["Content"]["Model"]["Sha256"])


def rows(host: Host) -> list[dict[str, str]]:
    table = host.orthanc.call("GET", "/liver/quality").text
    return list(csv.DictReader(io.StringIO(table)))


def test_no_job_runs_with_weights_that_are_not_the_pinned_ones(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, WeightsSha256=SECOND)
    with host.orthanc.until_killed():
        problem = wait_for("why", lambda: str(host.orthanc.get("/liver/status")["EngineProblem"]))
        assert problem.startswith(f"the weights that are loaded have the SHA-256 {FIRST}, and")
        series_id = host.upload("waits for its model")
        [job] = wait_for("its job", lambda: host.jobs_of(series_id))
        assert job["State"] == "Pending"
        assert host.engine.jobs() == []
        assert wait_for("its end", lambda: not host.engine.alive())
        restarted(host, WeightsSha256=FIRST)
        assert host.ended_job_of(series_id)["State"] == "Success"


def test_changing_over_and_rolling_back_are_one_setting_each(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    with host.orthanc.until_killed():
        old = host.upload("of the first")
        outline = host.ended_job_of(old)["Content"]["Result"]["Instance"]
        restarted(host, Weights=weights(tmp_path / "other"))
        new = host.upload("of the other")
        host.ended_job_of(new)
        restarted(host, Weights="")
        last = host.upload("of the first again")
        host.ended_job_of(last)
        assert [model_of(host, one) for one in (old, new, last)] == [FIRST, SECOND, FIRST]
        # Nothing was made anew by itself, and the old outline is what it was.
        assert [len(host.jobs_of(one)) for one in (old, new, last)] == [1, 1, 1]
        assert host.rtstructs_beside(old) == [outline]


@pytest.mark.parametrize("kind", [FakeHost, Host])
def test_a_second_model_leaves_figures_and_no_outline(tmp_path: Path, kind: type[Host]) -> None:
    host = kind(tmp_path, ShadowWeights=weights(tmp_path / "second"))
    with host.orthanc.until_killed():
        host.ready()
        series, series_id = segmented(host, "with a second model")
        first = host.jobs_of(series_id)[-1]["Content"]["Result"]["Instance"]
        wait_for("its figures", lambda: len(rows(host)) == 1)
        [row] = rows(host)
        assert (row["is_shadow"], row["against"], row["is_case"]) == ("yes", "first model", "no")
        assert (row["model"], row["sha256"]) == ("second", SECOND)
        assert (row["instance"], row["dsc"]) == (first, "0.9")
        [chart] = host.orthanc.get("/liver/quality/chart")
        beside = {"Outlines": 1, "MeanDsc": 0.9, "LowestDsc": 0.9, "MeanRv": 1.02}
        assert (chart["Model"], chart["Cases"], chart["Points"]) == ("second", 0, [])
        assert (chart["IsShadow"], chart["AgainstFirst"]) == (True, beside)

        drawn = returned(host, liver(series))
        compared(host, series_id, drawn)
        wait_for("all figures", lambda: len(rows(host)) == 3)
        looked_at(host)
        told = {(one["sha256"], one["instance"]): one["is_case"] for one in rows(host)}
        assert told == {(SECOND, first): "no", (FIRST, drawn): "yes", (SECOND, drawn): "yes"}
        assert [one["Sha256"] for one in comparisons(host, series_id)] == [FIRST]
        charts = {one["Sha256"]: one for one in host.orthanc.get("/liver/quality/chart")}
        assert {sha256: one["Cases"] for sha256, one in charts.items()} == {FIRST: 1, SECOND: 1}
        assert host.orthanc.get("/liver/status")["Quality"]["Sha256"] == FIRST
        # The second model's outlines were compared, and are nowhere.
        compared_ones = {one["ours"] for one in host.engine.comparisons()}
        here = [uid for uid in compared_ones if host.orthanc.lookup(uid)]
        assert (len(compared_ones), len(here)) == (2, 1)
        assert sorted(host.rtstructs_beside(series_id)) == sorted([first, drawn])
        assert len(host.jobs_of(series_id)) == 1

        asked = len(host.engine.comparisons())
        restarted(host)
        host.ready()
        looked_at(host)
        assert (len(rows(host)), len(host.engine.comparisons())) == (3, asked)


def test_a_second_models_outline_is_measured_on_the_cts_voxels(tmp_path: Path) -> None:
    """By the product's own processes; the second model leaves out what is hardly liver."""
    from tests.support.threshold_engine import with_liver  # noqa: PLC0415 as RealEngineHost does

    host = RealEngineHost(tmp_path, ShadowWeights=weights(tmp_path / "second", "c" * 64))
    with host.orthanc.until_killed():
        host.ready()
        series_id = host.store(write_ct_series(with_liver(unsure=True), uid_seed="measured"))
        job = host.ended_job_of(series_id)
        liver_ml = job["Content"]["Report"]["liver_ml"]
        [row] = wait_for("its figures", lambda: rows(host), 60.0)
        assert (row["reason"], row["is_shadow"], row["against"]) == ("", "yes", "first model")
        assert float(row["theirs_ml"]) == pytest.approx(liver_ml, abs=0.1)
        assert 0.6 < float(row["rv"]) < 0.95
        smaller = float(row["rv"])
        assert float(row["dsc"]) == pytest.approx(2 * smaller / (1 + smaller), abs=0.01)


def test_a_second_model_gives_way_to_what_arrives(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, ShadowWeights=weights(tmp_path / "second"))
    with host.orthanc.until_killed():
        host.ready()
        # The first of these is the first model's.
        host.engine.behave(seconds=0.2)
        first_id = host.store(small_ct("looked at twice"))
        host.ended_job_of(first_id)
        host.engine.behave(seconds=30.0)
        wait_for("the second model", lambda: len(host.engine.jobs()) == 2)
        at_work = host.engine.jobs()[-1]["pid"]
        host.engine.behave()
        assert host.ended_job_of(host.store(small_ct("comes in between")))["State"] == "Success"
        wait_for("its end", lambda: at_work not in host.engine.alive())


def test_a_second_model_gives_way_while_it_loads(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, ShadowWeights=weights(tmp_path / "second"))
    with host.orthanc.until_killed():
        host.ready()
        host.engine.behave(start="hang")
        host.ended_job_of(host.store(small_ct("looked at once")))
        wait_for("the second model", lambda: len(host.engine.starts()) == 2)
        loading = host.engine.starts()[-1]["pid"]
        host.engine.behave(seconds=10.0)
        host.store(small_ct("comes while it loads"))
        wait_for("its end", lambda: loading not in host.engine.alive())
        host.engine.behave()


def test_a_second_model_that_is_the_first_is_told(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, ShadowWeights=weights(tmp_path / "second", FIRST))
    with host.orthanc.until_killed():
        host.ready()
        series, series_id = segmented(host, "with one model twice")
        problem = wait_for("why", lambda: str(host.orthanc.get("/liver/status")["ShadowProblem"]))
        assert problem == "they are the first model's: name another folder, or none"
        assert f"ShadowWeights do not work, and rest until the next start: {problem}" in (
            host.orthanc.log()
        )
        compared(host, series_id, returned(host, liver(series)))
        assert [one["is_shadow"] for one in rows(host)] == ["no"]


@pytest.mark.parametrize("start", ["failed", "crash"])
def test_a_second_model_that_does_not_start_holds_nothing_up(tmp_path: Path, start: str) -> None:
    host = FakeHost(tmp_path, ShadowWeights=weights(tmp_path / "second"))
    with host.orthanc.until_killed():
        host.ready()
        host.engine.behave(start=start)
        series, series_id = segmented(host, "without a second model")
        assert wait_for("why", lambda: host.orthanc.get("/liver/status")["ShadowProblem"])
        host.engine.behave()
        assert compared(host, series_id, returned(host, liver(series)))["Dsc"] == 0.9
        assert [one["is_shadow"] for one in rows(host)] == ["no"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"Weights": "/nowhere"}, "LiverSegmentation.Weights: there are no weights in /nowhere"),
        ({"ShadowWeights": "/nowhere"}, "LiverSegmentation.ShadowWeights: there are no weights"),
        ({"WeightsSha256": "abc"}, "LiverSegmentation.WeightsSha256: must be 64 of the signs"),
    ],
)
def test_a_wrong_setting_stops_jobs_and_not_orthanc(
    tmp_path: Path, settings: dict[str, str], why: str
) -> None:
    host = Host(tmp_path, **settings)
    assert isinstance(host.orthanc, OrthancServer)
    with host.orthanc.until_killed():
        [problem] = host.orthanc.get("/liver/status")["SettingsProblems"]
        assert problem.startswith(why)
        series_id = host.upload("not with these settings")
        answer = host.orthanc.call("POST", f"/liver/series/{series_id}/segment")
        assert error_of(answer)[0] == 503
