"""POST /liver/series/{id}/activity, on a real Orthanc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.host.conftest import Host, error_of
from tests.plugin.host.series import small_ct
from tests.plugin.host.web.test_routes import NO_RESOURCE

GIVEN = {"Method": "resin", "TumourMl": 150, "HeightM": 1.75, "WeightKg": 70}
GIVEN |= {"LungShunt": 0.05, "ShuntBy": "planar"}


def upload(host: Host, uid_seed: str, size: str = "", weight: str = "") -> str:
    series = small_ct(uid_seed)
    for one in series:
        one.PatientSize, one.PatientWeight = size or None, weight or None
    return host.store(series)


def ask(host: Host, series_id: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = host.orthanc.post(f"/liver/series/{series_id}/activity", body)
    return answer


def refusal(host: Host, series_id: str, body: Any) -> tuple[int, str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_of(host.orthanc.call("POST", f"/liver/series/{series_id}/activity", content))


def origins(answer: dict[str, Any]) -> dict[str, tuple[float, str]]:
    return {one["Name"]: (one["Value"], one["Origin"]) for one in answer["Inputs"]}


def test_the_volume_is_the_segmentations_and_the_patient_is_the_dicoms(host: Host) -> None:
    series_id = upload(host, "activity of a whole case", "1.75", "70")
    job_id = host.ended_job_of(series_id)["ID"]
    answer = ask(host, series_id, Method="resin", TumourMl=150, LungShunt=0.05, ShuntBy="planar")
    # BSA 1.8481190138 - 0.2 + 150 / 1500, the scripted engine's volume
    assert answer["ActivityGbq"] == pytest.approx(1.7481190138, abs=5e-11)
    found = origins(answer)
    liver_ml, origin = found["LiverMl"]
    assert liver_ml == pytest.approx(1500)
    assert f"segmentation, job {job_id}, ROI 'Liver' of structure set 'scripted'" in origin
    assert found["HeightM"] == (1.75, "DICOM PatientSize")
    assert found["WeightKg"] == (70, "DICOM PatientWeight")
    assert found["TumourMl"] == (150, "given")
    assert answer["Warnings"] == ["a scripted warning"]
    assert answer["Note"] == "For review by a physician; not a medical device."
    # What is given goes before what Orthanc knows, and then its warnings do not apply.
    answer = ask(host, series_id, **GIVEN | {"LiverMl": 1800, "HeightM": 1.8})
    assert origins(answer)["LiverMl"] == (1800, "given")
    assert origins(answer)["HeightM"] == (1.8, "given")
    assert answer["Warnings"] == []


def test_what_is_given_is_compared_with_what_the_ct_says(host: Host) -> None:
    """A slip, or another patient's numbers."""
    series_id = upload(host, "numbers of another patient", "1.75", "70")
    given: dict[str, Any] = GIVEN | {"LiverMl": 1800}
    assert ask(host, series_id, **given | {"HeightM": 1.79, "WeightKg": 60})["Warnings"] == []
    (height,) = ask(host, series_id, **given | {"HeightM": 1.57})["Warnings"]
    assert height.startswith("HeightM as given is not what the CT says (DICOM PatientSize)")
    (weight,) = ask(host, series_id, **given | {"WeightKg": 100})["Warnings"]
    assert weight.startswith("WeightKg as given is not what the CT says (DICOM PatientWeight)")
    silent = upload(host, "no numbers of the patient", "", "0")
    assert ask(host, silent, **given)["Warnings"] == []


@pytest.mark.parametrize(
    ("size", "weight", "sentence"),
    [
        ("", "", "also needs: height (HeightM), weight (WeightKg)"),
        ("0", "0.0", "also needs: height (HeightM), weight (WeightKg)"),
        ("1.75", "0", "also needs: weight (WeightKg)"),
        ("175", "70", "HeightM (DICOM PatientSize) must be from 0.5 to 2.5 m"),
    ],
)
def test_dicom_that_says_nothing_or_nonsense(
    host: Host, size: str, weight: str, sentence: str
) -> None:
    series_id = upload(host, f"size {size} weight {weight}", size, weight)
    status, message = refusal(host, series_id, {"Method": "resin", "LiverMl": 1800, "TumourMl": 0})
    assert status == 400
    assert sentence in message


def test_without_a_segmentation_that_stands_it_is_409(host: Host) -> None:
    host.engine.behave("refused")
    series_id = host.upload("activity too early")
    assert refusal(host, series_id, GIVEN)[0] == 409
    host.ended_job_of(series_id)
    status, message = refusal(host, series_id, GIVEN)
    assert (status, "(refused)" in message) == (409, True)
    assert "or give LiverMl" in message
    host.engine.behave()
    assert ask(host, series_id, **GIVEN, LiverMl=1800)["ActivityGbq"]
    result = host.job(host.segment(series_id, Force=True), "Success")["Content"]["Result"]
    assert ask(host, series_id, **GIVEN)["ActivityGbq"]
    host.orthanc.call("DELETE", f"/instances/{result['Instance']}")
    status, message = refusal(host, series_id, GIVEN)
    assert (status, "no longer in Orthanc" in message) == (409, True)


def test_a_volume_that_was_changed_in_the_metadata_is_an_error(host: Host) -> None:
    series_id = upload(host, "activity of an edited record", "1.75", "70")
    host.ended_job_of(series_id)
    where = f"/series/{series_id}/metadata/4501"
    record = host.orthanc.call("GET", where).content
    edited = record.replace(b'"liver_ml": 1500.0', b'"liver_ml": 3000.0')
    assert edited != record
    host.orthanc.call("PUT", where, edited)
    status, message = refusal(host, series_id, GIVEN)
    assert (status, "is not that of the RTSTRUCT's contours" in message) == (409, True), message


def test_a_slice_that_came_later_unsettles_the_volume(host: Host) -> None:
    series = small_ct("activity of a growing series", slices=7)
    series_id = host.store(series[:6])
    host.ended_job_of(series_id)
    assert ask(host, series_id, **GIVEN)["ActivityGbq"]
    host.store(series[6:])
    status, message = refusal(host, series_id, GIVEN)
    assert (status, "not those that were segmented" in message) == (409, True)


@pytest.mark.parametrize("route", ["activity", "segment"])
def test_a_deeply_nested_body_does_not_end_orthanc(host: Host, route: str) -> None:
    series_id = host.upload("nested body")
    for body in (b"[" * 4000, b'{"Force":' * 400):
        answer = host.orthanc.call("POST", f"/liver/series/{series_id}/{route}", body)
        assert error_of(answer) == (400, "the body is too deeply nested")
    assert host.orthanc.answers()


def test_a_sites_own_limit_and_the_treatment_by_its_name(tmp_path: Path) -> None:
    host = Host(tmp_path, Automatic=False, DoseLimitsGy={"GlassLobesMost": 100})
    body: dict[str, Any] = {"Method": "glass", "LiverMl": 1800, "PerfusedMl": 700, "DoseGy": 120}
    with host.orthanc:
        answer = ask(
            host,
            host.upload("a lobe"),
            **body,
            LungShunt=0.01,
            ShuntBy="planar",
            Treatment="unilobar",
        )
    assert answer["ActivityGbq"] == pytest.approx(1.7304 / 0.99)
    chosen = {"Spheres": "glass", "ShuntBy": "planar", "Treatment": "unilobar"}
    assert answer["Chosen"] == chosen
    [warning] = answer["Warnings"]
    assert "should be at most 100 Gy (glass, unilobar or bilobar; setting DoseLimitsGy" in warning


def test_where_to_look_is_no_liver(tmp_path: Path) -> None:
    host = Host(tmp_path, LookHere=True)
    with host.orthanc:
        series_id = host.upload("an outline and where to look")
        host.ended_job_of(series_id)
        assert origins(ask(host, series_id, **GIVEN))["LiverMl"][0] == pytest.approx(1500)
        outlines = host.orthanc.get(f"/liver/series/{series_id}/outlines")
        found = outlines if isinstance(outlines, list) else outlines["Outlines"]
        assert [one["Name"] for one in found] == ["Liver", "Look here"]


def test_an_unknown_series_is_404(host: Host) -> None:
    assert refusal(host, NO_RESOURCE, GIVEN)[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        GIVEN | {"Method": "Resin"},
        GIVEN | {"Method": ["resin"]},
        {"TumourMl": 150},
        GIVEN | {"LiverML": 1800},
        GIVEN | {"LiverMl": "1800"},
        GIVEN | {"LiverMl": True},
        b'{"Method": "resin", "LiverMl": NaN}',
        b'{"Method": "resin", "LiverMl": 1e999}',
        b'{"Method": "resin", "LiverMl": 1%s}' % (b"0" * 400),
        GIVEN | {"Padding": "x" * 5000},
        GIVEN | {"LiverMl": 100, "TumourMl": 150},
        GIVEN | {"LiverMl": 1800, "LobeMl": 700},
        GIVEN | {"LiverMl": 1800, "Treatment": "bilobar"},
        GIVEN | {"LiverMl": 1800, "Spheres": {"resin": 1}},
    ],
)
def test_bad_bodies_are_400(host: Host, body: Any) -> None:
    series_id = host.upload("bad body for an activity")
    status, message = refusal(host, series_id, body)
    assert status == 400
    assert message


def test_the_mass_of_the_lungs_that_the_segmentation_measured(host: Host) -> None:
    host.engine.behave(lungs={"ml": 4100.0, "kg": 0.9})
    body = {**GIVEN, "LungsFromCt": True}
    series_id = host.upload("lungs")
    host.ended_job_of(series_id)
    answer = ask(host, series_id, **body)
    kg, origin = origins(answer)["LungMassKg"]
    assert (kg, "checked on phantoms only" in origin) == (0.9, True)
    # 49.67 Gy kg/GBq * A * 0.05 / 0.9 kg
    [dose] = [one["Value"] for one in answer["Results"] if one["Name"] == "LungDoseGy"]
    assert dose == pytest.approx(49.67 * answer["ActivityGbq"] * 0.05 / 0.9)
    unasked = origins(ask(host, series_id, **GIVEN))["LungMassKg"]
    assert unasked == (1, "assumed: usual for this formula")


@pytest.mark.parametrize(
    ("lungs", "more", "sentence"),
    [
        ({"reason": "they are cut by the scan's ends"}, {}, "not measured: they are cut by the"),
        ({"kg": "heavy"}, {}, "mass of the lungs, LungMassKg (segmentation, job"),
        ({"kg": 90}, {}, "must be from 0.1 to 5 kg"),
        (None, {}, "the report tells nothing of the lungs: segment the CT again"),
        ({"kg": 0.9}, {"LungMassKg": 1}, "give LungMassKg or LungsFromCt, not both"),
        ({"kg": 0.9}, {"LungsFromCt": "yes"}, "LungsFromCt must be true or false"),
    ],
)
def test_lungs_that_were_not_measured_are_refused(
    host: Host, lungs: dict[str, Any] | None, more: dict[str, Any], sentence: str
) -> None:
    host.engine.behave(lungs=lungs)
    series_id = host.upload(f"lungs: {sentence}")
    host.ended_job_of(series_id)
    _, told = refusal(host, series_id, {**GIVEN, "LungsFromCt": True, **more})
    assert sentence in told
