"""The alert rules speak of figures that there are, in Prometheus' own language."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from orthanc_liver.engine.protocol import GRADES, Outcome
from orthanc_liver.host.jobs.job import State
from orthanc_liver.host.web.metrics import Ended, exposition
from tests.plugin.host.conftest import Host
from tests.plugin.host.web.test_metrics import ask, samples_of

RULES = Path(__file__).parents[4] / "docs" / "prometheus-alerts.yml"
VALUES = {"outcome": {*Outcome}, "grade": {*GRADES}, "state": {*State}}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def test_prometheus_itself_takes_them() -> None:
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if not found:
        pytest.skip("needs promtool, of Debian's package prometheus")
    checked = subprocess.run(
        [found, "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout


@pytest.mark.parametrize("shared_host", ["fake"], indirect=True)
def test_every_figure_of_a_rule_is_one_of_ours(host: Host) -> None:
    host.engine.behave(grade="doubtful")
    host.ended_job_of(host.upload("for the alerts"))
    host.idle()
    broker = {"State": "serves", "Workers": 1, "Waiting": 0, "DoneBy": {}}
    status = {**host.orthanc.get("/liver/status"), "Broker": broker}
    samples = ask(host) | samples_of(exposition(status, Ended()))
    for rule in rules():
        used = re.findall(r"(liver_\w+)(?:\{(\w+)=\"([^\"]+)\"\})?", rule["expr"])
        assert used, rule["alert"]
        for name, label, value in used:
            mine = [dict(labels) for one, labels in samples if one == name]
            assert mine, f"{rule['alert']}: there is no {name}"
            assert not label or label in mine[0], f"{rule['alert']}: {name} has no {label}"
            assert not label or value in VALUES[label], f"{rule['alert']}: {label} is never {value}"


def test_each_alert_says_what_to_make_of_it() -> None:
    for rule in rules():
        assert rule["annotations"]["summary"].endswith((".", ")."))
        assert rule["labels"]["severity"] in ("page", "warn")
    assert {one["alert"] for one in rules()} >= {
        "LiverWaitsLong",
        "LiverJobsFail",
        "LiverOutlinesDoubtful",
        "LiverNoWorker",
    }
