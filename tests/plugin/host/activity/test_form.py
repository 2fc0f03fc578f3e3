"""What the form asks for is what the activity takes, and its sheet that of the command line."""

from __future__ import annotations

import json
from typing import Any

from orthanc_liver.sirt.activity import compute_activity
from orthanc_liver.sirt.inputs import CHOICES, QUANTITIES, ActivityRefused, Input, read_inputs
from tests.plugin.host.conftest import Host

GIVEN: dict[str, Any] = {"TumourMl": 150, "HeightM": 1.75, "WeightKg": 70, "LiverMl": 1800}


def refusal_with(method: str, name: str) -> str:
    number = Input(QUANTITIES[name], 1.0, "given") if name in QUANTITIES else None
    inputs = {name: number} if number else {}
    chosen = {} if number else {name: CHOICES[name].options[0]}
    try:
        compute_activity(method, inputs, chosen=chosen)
    except ActivityRefused as refused:
        return str(refused)
    return ""  # some methods need no other number


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


def test_vials_by_the_hour_where_they_are_asked_for(host: Host) -> None:
    series_id = host.upload("vials")
    path, asked = f"/liver/series/{series_id}/activity", {"Method": "resin", **GIVEN, "Table": True}
    expected = compute_activity("resin", read_inputs(GIVEN), with_table=True)
    assert (
        host.orthanc.post(path, asked)["Table"]
        == json.loads(json.dumps(expected.as_json()))["Table"]
    )
    body = json.dumps(asked).encode()
    assert (
        host.orthanc.call("POST", path, body, {"Accept": "text/plain"}).text == expected.as_text()
    )
    refused = host.orthanc.call("POST", path, json.dumps(asked | {"Table": 1}).encode())
    assert "Table must be true or false" in refused.json()["Message"]
