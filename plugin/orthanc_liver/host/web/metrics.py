"""The plugin's figures for Prometheus, in its text format (version 0.0.4)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from orthanc_liver.engine.protocol import GRADES
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.quality.chart import Rule

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Mapping[str, str], float]]


class Ended:
    """What the jobs that ended since Orthanc started came to, and where their time went."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._grades: Counter[str] = Counter()
        self._no_liver: Counter[str] = Counter()  # by reason, of which the model has a handful
        self._stage_seconds: dict[str, float] = {}
        self._stage_count: Counter[str] = Counter()

    def note(self, job: Job) -> None:
        """A job ended."""
        report = job.report or {}
        stages = report.get("seconds", {})
        with self._lock:
            self._outcomes[str(job.outcome)] += 1
            if grade := report.get("grade"):
                self._grades[grade] += 1
            if why := report.get("no_liver"):
                self._no_liver[why["reason"]] += 1
            for stage, seconds in stages.items():
                self._stage_count[stage] += 1
                self._stage_seconds[stage] = self._stage_seconds.get(stage, 0.0) + seconds

    def families(self) -> list[str]:
        """The counters' part of the answer."""
        with self._lock:
            return [
                _family(
                    "liver_jobs_ended_total",
                    "counter",
                    "Jobs that ended since Orthanc started, by outcome.",
                    [({"outcome": name}, n) for name, n in self._outcomes.items()],
                ),
                _family(
                    "liver_outlines_total",
                    "counter",
                    "Outlines since Orthanc started, by how sure the networks were of them.",
                    [({"grade": grade}, self._grades[grade]) for grade in GRADES],
                ),
                _family(
                    "liver_jobs_without_liver_total",
                    "counter",
                    "Jobs that found no liver since Orthanc started, by reason.",
                    [({"reason": why}, n) for why, n in self._no_liver.items()],
                ),
                "# HELP liver_stage_seconds Seconds that jobs spent in each stage.\n"
                "# TYPE liver_stage_seconds summary\n"
                + _samples("liver_stage_seconds_sum", _by_stage(self._stage_seconds))
                + _samples("liver_stage_seconds_count", _by_stage(self._stage_count)),
            ]


def exposition(status: Mapping[str, Any], ended: Ended) -> str:
    """The answer to GET /liver/metrics, from the answer to GET /liver/status."""
    families = [
        *_of_plugin(status),
        *_of_broker(status.get("Broker")),
        *_of_work(status),
        *_of_people(status),
        *_of_quality(status["Quality"] or {}),
        *ended.families(),
    ]
    return "".join(families)


def _of_plugin(status: Mapping[str, Any]) -> list[str]:
    model = status["Model"]
    about = {"version": status["Version"], "device": status["Device"] or ""}
    if model:
        about |= {"model": model["Name"], "sha256": model["Sha256"]}
    return [
        _family("liver_info", "gauge", "What runs, as labels; always 1.", [(about, 1)]),
        _family(
            "liver_engine_ready",
            "gauge",
            "1 when the model is loaded, else 0.",
            [({}, status["Engine"] == "ready")],
        ),
        _family(
            "liver_settings_problems",
            "gauge",
            "How many things are wrong with the settings.",
            [({}, len(status["SettingsProblems"]))],
        ),
        _family(
            "liver_thread_alive",
            "gauge",
            "1 for each of the plugin's threads that is at work or waits for some, else 0.",
            [({"thread": name}, how == "running") for name, how in status["Threads"].items()],
        ),
        _family(
            "liver_arrived_while_away",
            "gauge",
            "Series that arrived while the plugin was away, before it started last.",
            [({}, status["ArrivedWhileAway"])],
        ),
        _family(
            "liver_oldest_waiting_seconds",
            "gauge",
            "For how long the job that has waited longest has waited; 0 where none waits.",
            [({}, status["OldestWaitingSeconds"])],
        ),
    ]


def _of_work(status: Mapping[str, Any]) -> list[str]:
    """Of jobs and deliveries."""
    waiting = status["Queue"]["Pending"] + status["Queue"]["Retry"]
    return [
        _family("liver_queue_length", "gauge", "Jobs that wait for their turn.", [({}, waiting)]),
        _family(
            "liver_jobs",
            "gauge",
            "Jobs that are remembered, by state.",
            [({"state": state}, n) for state, n in status["Queue"].items()],
        ),
        _family(
            "liver_deliveries",
            "gauge",
            "Deliveries to destinations that are remembered, by state.",
            [({"state": state}, n) for state, n in status["Deliveries"].items()],
        ),
        _family(
            "liver_arrivals",
            "gauge",
            "Objects at destinations that are remembered, by what is known of them there.",
            [({"arrival": arrival}, n) for arrival, n in status["Arrivals"].items()],
        ),
    ]


def _of_people(status: Mapping[str, Any]) -> list[str]:
    """Of what they decided, and of the outlines that they drew."""
    return [
        _family(
            "liver_reviews_total",
            "counter",
            "What people decided of results since Orthanc started, by verdict.",
            [({"verdict": verdict}, n) for verdict, n in status["Reviews"].items()],
        ),
        _family(
            "liver_returned_outlines_total",
            "counter",
            "Physicians' outlines that came back since Orthanc started, by what became of them.",
            [
                ({"outcome": name.lower()}, status["ReturnedOutlines"][name])
                for name in ("Compared", "Refused")
            ],
        ),
    ]


def _of_quality(chart: Mapping[str, Any]) -> list[str]:
    """Of the control chart of the newest case."""
    figures = {"mean": chart.get("MeanDsc"), "slow": chart.get("SlowDsc")}
    return [
        _family(
            "liver_quality_cases",
            "gauge",
            "Cases on the control chart of the model whose outlines came back last.",
            [({}, chart.get("Cases", 0))],
        ),
        _family(
            "liver_quality_dsc",
            "gauge",
            "DSC of outlines that came back: of the first cases, and the slow mean now.",
            [({"figure": name}, dsc) for name, dsc in figures.items() if dsc is not None],
        ),
        _family(
            "liver_quality_alarm",
            "gauge",
            "1 where the newest case breaks this rule of the control chart, else 0.",
            [({"rule": rule}, rule in chart.get("Rules", [])) for rule in Rule],
        ),
    ]


def _by_stage(values: Mapping[str, float]) -> Samples:
    return [({"stage": stage}, value) for stage, value in values.items()]


def _of_broker(broker: Mapping[str, Any] | None) -> list[str]:
    if broker is None:
        return []
    return [
        _family(
            "liver_broker_serves",
            "gauge",
            "1 where the broker answers, else 0.",
            [({}, broker["State"] == "serves")],
        ),
        _family(
            "liver_workers",
            "gauge",
            "Workers of this model at the broker.",
            [({}, broker["Workers"])],
        ),
        _family(
            "liver_cases_waiting",
            "gauge",
            "Cases of all Orthancs that wait at the broker for a worker.",
            [({}, broker["Waiting"])],
        ),
        _family(
            "liver_worker_cases_total",
            "counter",
            "Cases of this Orthanc that each worker has answered.",
            [({"worker": name}, cases) for name, (cases, _) in broker["DoneBy"].items()],
        ),
        _family(
            "liver_worker_seconds_total",
            "counter",
            "Seconds that each worker took for them, fetching included.",
            [({"worker": name}, seconds) for name, (_, seconds) in broker["DoneBy"].items()],
        ),
    ]


def _family(name: str, kind: str, meaning: str, samples: Samples) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{_samples(name, samples)}"


def _samples(name: str, samples: Samples) -> str:
    lines = []
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        place = f"{name}{{{inside}}}" if inside else name
        lines.append(f"{place} {float(value)!r}\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
