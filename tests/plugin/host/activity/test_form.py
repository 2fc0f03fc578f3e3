"""What the form asks for is what the activity takes, and its sheet that of the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orthanc_liver.sirt.activity import compute_activity
from orthanc_liver.sirt.inputs import CHOICES, QUANTITIES, ActivityRefused, Input, read_inputs
from tests.plugin.host.conftest import Host

GIVEN: dict[str, Any] = {"TumourMl": 150, "HeightM": 1.75, "WeightKg": 70, "LiverMl": 1800}


def refusal_with(method: str, name: str) -> str:
    number = Input(QUANTITIES[name], 1.0, "given") if name in QUANTITIES else None
    inputs = {name: number} if number else {}
    chosen = {} if number else {name: CHOICES[name].options[0]}
    with pytest.raises(ActivityRefused) as refused:
        compute_activity(method, inputs, chosen=chosen)
    return str(refused.value)


def test_the_form_asks_for_what_each_method_takes(host: Host) -> None:
    form = host.orthanc.get("/liver/activity")
    assert set(form["Inputs"]) == set(QUANTITIES)
    assert (form["Inputs"]["TumourMl"]["Roi"], form["Inputs"]["TumourMl"]["Unit"]) == (
        "TumourRoi",
        "mL",
    )
    assert form["Inputs"]["HeightM"]["DicomTag"] == "PatientSize"
    for method, asks in form["Methods"].items():
        assert set(asks["Needs"]) <= set(asks["Takes"])
        for name in [*QUANTITIES, *CHOICES]:
            is_asked = name in [*asks["Takes"], *asks["Chooses"]]
            assert ("does not use" not in refusal_with(method, name)) is is_asked, (method, name)


def test_a_person_gets_the_sheet_of_the_command_line(host: Host) -> None:
    series_id = host.upload("asked for in words")
    body = json.dumps({"Method": "resin", **GIVEN}).encode()
    path = f"/liver/series/{series_id}/activity"
    answer = host.orthanc.call("POST", path, body, {"Accept": "text/plain"})
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text == compute_activity("resin", read_inputs(GIVEN)).as_text()
    assert "ActivityGbq" in host.orthanc.post(path, {"Method": "resin", **GIVEN})
    refused = host.orthanc.call("POST", path, b'{"Method": "x"}', {"Accept": "text/plain"})
    assert "the method must be one of" in refused.json()["Message"]
