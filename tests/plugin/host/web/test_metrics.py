"""GET /liver/metrics as Prometheus's own parser reads it."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from orthanc_liver import __version__
from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.quality.chart import Rule
from orthanc_liver.host.web.metrics import Ended, exposition
from tests.plugin.host.conftest import Host

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples_of(text: str) -> dict[Sample, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ask(host: Host) -> dict[Sample, float]:
    answer = host.orthanc.call("GET", "/liver/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return samples_of(answer.text)


def test_a_job_shows_in_the_figures(host: Host) -> None:
    host.ended_job_of(host.upload("before the figures"))
    host.idle()
    before = ask(host)
    about = {"version": __version__, "device": "cpu", "model": "scripted", "sha256": "a" * 64}
    assert before["liver_info", tuple(sorted(about.items()))] == 1
    assert before["liver_engine_ready", ()] == 1
    assert before["liver_settings_problems", ()] == 0
    assert before["liver_queue_length", ()] == 0
    host.engine.behave("hang", times=1)
    job_id = host.segment(host.upload("in the figures"))
    host.job_in_engine(job_id)
    host.segment(host.upload("waits in the figures"))
    during = ask(host)
    assert during["liver_jobs", (("state", "Running"),)] == 1
    assert during["liver_jobs", (("state", "Pending"),)] == 1
    assert during["liver_queue_length", ()] == 1
    host.orthanc.post(f"/liver/jobs/{job_id}/cancel")
    host.idle()
    after = ask(host)
    for outcome in ("segmented", "cancelled"):
        key: Sample = ("liver_jobs_ended_total", (("outcome", outcome),))
        assert after[key] == before.get(key, 0) + 1


def test_seconds_add_up_by_stage() -> None:
    ended = Ended()
    for infer_s in (1.25, 2.5):
        seconds = {"infer": infer_s, "back to the CT grid": 0.5}
        report = {"seconds": seconds, "grade": "look" if infer_s < 2 else "doubtful"}
        ended.note(Job("series", "study", "key", outcome=Outcome.SEGMENTED, report=report))
    ended.note(Job("series", "study", "key", outcome=Outcome.REFUSED))
    none: dict[str, Any] = {"no_liver": {"reason": "nothing that could be one was seen"}}
    ended.note(Job("series", "study", "key", outcome=Outcome.NO_LIVER, report=none))
    found = samples_of("".join(ended.families()))
    assert found["liver_stage_seconds_sum", (("stage", "infer"),)] == 3.75
    assert found["liver_stage_seconds_count", (("stage", "infer"),)] == 2
    assert found["liver_stage_seconds_sum", (("stage", "back to the CT grid"),)] == 1.0
    assert found["liver_jobs_ended_total", (("outcome", "segmented"),)] == 2
    assert found["liver_jobs_ended_total", (("outcome", "refused"),)] == 1
    assert found["liver_outlines_total", (("grade", "look"),)] == 1
    assert found["liver_outlines_total", (("grade", "doubtful"),)] == 1
    why = (("reason", "nothing that could be one was seen"),)
    assert found["liver_jobs_without_liver_total", why] == 1


def test_a_name_with_quotes_is_still_readable() -> None:
    name = 'a "model"\\ on\ntwo lines'
    status: dict[str, Any] = {
        "Version": "1",
        "Device": None,
        "Model": {"Name": name, "Sha256": "s"},
        "Engine": "starting",
        "SettingsProblems": ["one"],
        "ArrivedWhileAway": 3,
        "OldestWaitingSeconds": 75,
        "Threads": {"worker": "running", "backfill": "rests after a fault", "start": "not started"},
        "Queue": {"Pending": 1, "Running": 0, "Retry": 2, "Success": 0, "Failure": 0},
        "Deliveries": {"Pending": 0},
        "Arrivals": {"sent": 2, "committed": 5, "refused": 1},
        "Reviews": {"accepted": 3, "rejected": 0},
        "Broker": {
            "State": "away",
            "Workers": 16,
            "Waiting": 9,
            "DoneBy": {"1@gpu-7": [12, 94.5], "2@gpu-7": [3, 20.0]},
        },
        "ReturnedOutlines": {"Compared": 7, "Refused": 1, "Awaiting": 0},
        "Quality": {"Cases": 160, "MeanDsc": 0.95, "SlowDsc": 0.9, "Rules": ["slow mean"]},
    }
    found = samples_of(exposition(status, Ended()))
    [about] = [dict(labels) for metric, labels in found if metric == "liver_info"]
    assert about["model"] == name
    assert found["liver_queue_length", ()] == 3
    assert found["liver_engine_ready", ()] == 0
    assert found["liver_oldest_waiting_seconds", ()] == 75
    assert found["liver_broker_serves", ()] == 0
    assert found["liver_workers", ()] == 16
    assert found["liver_cases_waiting", ()] == 9
    assert found["liver_worker_cases_total", (("worker", "1@gpu-7"),)] == 12
    assert found["liver_worker_seconds_total", (("worker", "2@gpu-7"),)] == 20
    assert found["liver_outlines_total", (("grade", "doubtful"),)] == 0
    assert found["liver_reviews_total", (("verdict", "accepted"),)] == 3
    assert found["liver_arrivals", (("arrival", "committed"),)] == 5
    assert found["liver_arrived_while_away", ()] == 3
    assert found["liver_returned_outlines_total", (("outcome", "refused"),)] == 1
    assert found["liver_quality_cases", ()] == 160
    assert found["liver_quality_dsc", (("figure", "slow"),)] == 0.9
    alarms = [found["liver_quality_alarm", (("rule", rule),)] for rule in Rule]
    assert alarms == [0, 0, 1]
    alive = {
        thread: found["liver_thread_alive", (("thread", thread),)] for thread in status["Threads"]
    }
    assert alive == {"worker": 1, "backfill": 0, "start": 0}
