"""The settings section is checked key by key, and what is shipped is what the code says."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.engine.protocol import JobSettings
from orthanc_liver.host.settings import Settings, read_settings, settings_table
from tests.support.orthanc_server import CHECKOUT

WEIGHTS = CHECKOUT / "model" / "weights"

INTERPRETER = {"Interpreter": sys.executable}
BROKER = {
    "Url": "amqps://liver@broker.example:5671/liver",
    "Password": "secret-of-the-broker",
    "Orthanc": "north",
}

# Of every setting but Broker, which excludes ShadowWeights, another value than its default.
EVERY_SETTING: dict[str, Any] = {
    "Automatic": False,
    "Modality": "MR",
    "MinimumSlices": 33,
    "Filter": {"SeriesDescription": "portal"},
    "OnePerStudy": True,
    "Interpreter": sys.executable,
    "Device": "cuda:1",
    "Weights": str(WEIGHTS),
    "WeightsSha256": "0" * 64,
    "ShadowWeights": str(WEIGHTS / "development"),
    "Threads": 3,
    "RoiName": "Leber",
    "RoiColour": [1, 2, 3],
    "SeriesDescription": "Leber",
    "Store": ["SEG", "RTSTRUCT"],
    "LookHere": True,
    "Retries": 0,
    "JobTimeoutSeconds": 7,
    "MaximumMemoryMib": 2048,
    "KeepSuperseded": False,
    "JobsKept": 8,
    "Destinations": [
        {"Modality": "pacs", "Objects": ["RTSTRUCT"], "When": "accepted", "Commitment": True},
        {"DicomWeb": "archive"},
    ],
    "ReturnToSender": True,
    "SendAfter": "accepted",
    "Labels": True,
    "Webhook": {"Url": "https://hook.example/liver", "Secret": "0123456789abcdef"},
    "QualityFirstCases": 60,
    "RetentionDays": 30,
    "Viewer": "{orthanc}/ohif/viewer?StudyInstanceUIDs={StudyInstanceUID}",
    "BackfillPauseSeconds": 9,
    "DoseLimitsGy": {"LungOnce": 25, "ResinNormal": 35.5},
    "LogFormat": "json",
    "Broker": {},
    "JobsAtOnce": 7,
}


def problems_of(**section: Any) -> list[str]:
    return read_settings({"LiverSegmentation": {**INTERPRETER, **section}})[1]


def test_every_key_reaches_its_attribute() -> None:
    settings, problems = read_settings({"LiverSegmentation": EVERY_SETTING})
    assert problems == []
    values = [getattr(settings, one.name) for one in fields(Settings)]
    assert values == [tuple(v) if isinstance(v, list) else v for v in EVERY_SETTING.values()]
    assert settings.command[0] == sys.executable
    assert settings.command[-4:] == ["--device", "cuda:1", "--threads", "3"]


def test_what_a_job_must_know_of_the_settings_travels_with_it() -> None:
    """A field of JobSettings that no setting reaches would be a setting without effect."""
    settings, _ = read_settings({"LiverSegmentation": EVERY_SETTING})
    sent, default = settings.for_engine(), JobSettings()
    same = {
        one.name
        for one in fields(JobSettings)
        if getattr(sent, one.name) == getattr(default, one.name)
    }
    assert same == {"projections"}  # asked for with a job, not set


def test_with_a_broker_the_dispatcher_stands_where_the_network_is_otherwise() -> None:
    settings, problems = read_settings(
        {"LiverSegmentation": {**INTERPRETER, "Broker": {**BROKER, "CaFile": "/etc/ca.pem"}}}
    )
    assert problems == []
    assert settings.command == [sys.executable, "-m", "orthanc_liver.cluster.dispatcher"]
    assert BROKER["Password"] not in " ".join(settings.command)


def test_the_shipped_file_spells_out_the_defaults() -> None:
    shipped = json.loads((CHECKOUT / "orthanc.json").read_text())
    assert shipped["LiverSegmentation"] == {row.name: row.default for row in settings_table()}
    assert shipped["RemoteAccessAllowed"] is False


def test_the_table_explains_every_setting() -> None:
    rows = settings_table()
    assert len(rows) == len(fields(Settings))
    assert all(row.meaning.endswith(".") for row in rows)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Automatic", "yes"),
        ("Automatic", 1),
        ("Modality", ""),
        ("Modality", None),
        ("MinimumSlices", 1),
        ("MinimumSlices", "20"),
        ("MinimumSlices", True),
        ("MinimumSlices", 20.0),
        ("Filter", []),
        ("Filter", {"SeriesDescription": "("}),
        ("Filter", {"SeriesDescription": 1}),
        ("Filter", {"SeriesDescription": "(a+)+$"}),
        ("Filter", {"SeriesDescription": "(?:a|a|ab)*$"}),
        ("Filter", {"SeriesDescription": "(?=(a*)*b)"}),
        ("Filter", {"SeriesDescription": "a?" * 30 + "a" * 30}),
        ("Filter", {"SeriesDescription": ".*a.*b.*c"}),
        ("Filter", {"SeriesDescription": "a?" * 20 + "a" * 36 + "z"}),  # minutes
        ("Filter", {"SeriesDescription": "(|a)" * 21 + "z"}),
        ("Filter", {"SeriesDescription": "(?:a|aa|aaa|aaaa){10}z"}),
        ("Filter", {"SeriesDescription": "(.*)(.*)" + r"\1\2" * 9 + "z"}),
        ("Filter", {"SeriesDescription": "(" * 5000 + ")" * 5000}),
        ("Filter", {"SeriesDescripton": "liver"}),
        ("Filter", {"SliceThickness": {}}),
        ("Filter", {"SliceThickness": {"AtMost": "3"}}),
        ("Filter", {"SliceThickness": {"AtMost": True}}),
        ("Filter", {"SliceThickness": {"Below": 3}}),
        ("Filter", {"0018,12": "B30f"}),
        ("Filter", {"AnyOf": []}),
        ("Filter", {"AnyOf": {"Modality": "CT"}}),
        ("Filter", {"AllOf": [{"AnyOf": [{"Modality": "("}]}]}),
        ("Filter", {"AllOf": [{"AllOf": [{"AllOf": [{"AllOf": [{"AllOf": [{}]}]}]}]}]}),
        ("Filter", {"AllOf": [{"Modality": "CT"}] * 51}),
        ("OnePerStudy", "yes"),
        ("Webhook", "https://hook.example"),
        ("Webhook", {"Url": "https://hook.example"}),
        ("Webhook", {"Url": "https://hook.example", "Secret": "short"}),
        ("Webhook", {"Url": "file:///etc/passwd", "Secret": "0123456789abcdef"}),
        ("Webhook", {"Url": "https://user:pw@hook.example", "Secret": "0123456789abcdef"}),
        ("Interpreter", "/no/such/python"),
        ("Interpreter", str(CHECKOUT / "orthanc.json")),
        ("Interpreter", "/usr/bin"),
        ("Interpreter", 3),
        ("Device", "gpu"),
        ("Device", "cuda:x"),
        ("Threads", -1),
        ("RoiName", " "),
        ("RoiName", "Look here"),
        ("RoiName", "a\\b"),
        ("RoiName", "two\nlines"),
        ("RoiName", "x" * 65),
        ("RoiColour", [1, 2]),
        ("RoiColour", [1, 2, 256]),
        ("RoiColour", "red"),
        ("SeriesDescription", 7),
        ("SeriesDescription", "Liver {Source}"),
        ("SeriesDescription", "Liver {source"),
        ("Store", "RTSTRUCT"),
        ("Store", []),
        ("Store", [7]),
        ("Store", ["SEG"]),
        ("Store", ["RTSTRUCT", "SR"]),
        ("Store", ["RTSTRUCT", "rtstruct"]),
        ("Retries", -1),
        ("JobTimeoutSeconds", 0),
        ("JobsKept", 0),
        ("Destinations", {"Modality": "pacs"}),
        ("Destinations", ["pacs"]),
        ("Destinations", [{"Modality": ""}]),
        ("Destinations", [{"Modality": "pacs", "DicomWeb": "archive"}]),
        ("Destinations", [{"Peer": "other"}]),
        ("Destinations", [{"Objects": ["SEG"]}]),
        ("Destinations", [{"Modality": "pacs", "Objects": []}]),
        ("Destinations", [{"Modality": "pacs", "Objects": "SEG"}]),
        ("Destinations", [{"Modality": "pacs", "Objects": ["seg"]}]),
        ("Destinations", [{"Modality": "pacs", "Objects": [7]}]),
        ("Destinations", [{"Modality": "pacs", "When": "later"}]),
        ("Destinations", [{"Modality": "pacs", "Commitment": "yes"}]),
        ("Destinations", [{"DicomWeb": "archive", "Commitment": True}]),
        ("Destinations", [{"Modality": "pacs", "when": "accepted"}]),
        ("ReturnToSender", "yes"),
        ("SendAfter", "Accepted"),
        ("SendAfter", True),
        ("SendAfter", "accepted-if-sure"),
        ("Labels", ["liver-sure"]),
        ("Viewer", None),
        ("Viewer", "javascript:alert(1)"),
        ("Viewer", "//viewer.example/{StudyInstanceUID}"),
        ("Viewer", "{orthanc}.evil.example/"),
        ("Viewer", "https://viewer.example/?study={StudyUID}"),
        ("Viewer", "https://viewer.example/?study={StudyInstanceUID"),
        ("Viewer", "https://viewer.example/\n"),
        ("Viewer", "https://" + "x" * 1000),
        ("RetentionDays", -1),
        ("Weights", "/nowhere"),
        ("Weights", 7),
        ("WeightsSha256", "0" * 63),
        ("WeightsSha256", None),
        ("ShadowWeights", "/nowhere"),
        ("RetentionDays", "30"),
        ("BackfillPauseSeconds", -1),
        ("DoseLimitsGy", []),
        ("DoseLimitsGy", {"LungOnce": 0}),
        ("DoseLimitsGy", {"LungOnce": "30"}),
        ("DoseLimitsGy", {"LungOnce": True}),
        ("DoseLimitsGy", {"LungTwice": 30}),
        ("LogFormat", "JSON"),
        ("LogFormat", ["json"]),
        ("Broker", {"Url": "amqps://liver@broker.example/liver"}),
        ("Broker", {**BROKER, "User": "liver"}),
        ("Broker", {**BROKER, "Url": "amqps://liver:secret@broker.example/liver"}),
        ("Broker", {**BROKER, "Url": "redis://liver@broker.example/0"}),
        ("Broker", {**BROKER, "Orthanc": "north/south"}),
        ("Broker", {**BROKER, "Password": ""}),
        ("Broker", {**BROKER, "CaFile": 7}),
        ("JobsAtOnce", 0),
        ("JobsAtOnce", 65),
    ],
)
def test_a_wrong_value_is_one_problem_by_name_and_leaves_the_default(key: str, value: Any) -> None:
    settings, problems = read_settings({"LiverSegmentation": {**INTERPRETER, key: value}})
    assert len(problems) == 1
    assert problems[0].startswith(f"LiverSegmentation.{key}: ")
    name = next(one.name for one in fields(Settings) if one.name.replace("_", "") == key.lower())
    assert getattr(settings, name) == getattr(Settings(), name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MinimumSlice", "MinimumSlices"),
        ("minimumslices", "MinimumSlices"),
        ("RoiColor", "RoiColour"),
        ("JobTimeout", "JobTimeoutSeconds"),
        ("Filters", "Filter"),
    ],
)
def test_an_unknown_key_is_a_problem_that_names_the_nearest(written: str, meant: str) -> None:
    assert problems_of(**{written: 1}) == [
        f"LiverSegmentation.{written}: there is no such setting; did you mean {meant}?"
    ]


def test_a_key_unlike_any_other_is_a_problem_without_a_guess() -> None:
    assert problems_of(Zzz=1) == ["LiverSegmentation.Zzz: there is no such setting"]


@pytest.mark.parametrize(
    "pattern",
    [
        "(?i)portal|venous",
        "^(?!.*scout)",
        "(?i)(portal|venous|pv).*(abd|liver|leber).*(thin)?",
        r"^\d{4}-\d+ [A-Z]+$",
        "(late )?(art|ven)",
        "(ab){3}",
        "(((mm ){100}){100}){100}",
        "(?i)^(?=.*abd)(?=.*ven)(?!.*nativ).*$",
    ],
)
def test_a_usual_filter_is_taken(pattern: str) -> None:
    assert problems_of(Filter={"SeriesDescription": pattern}) == []


def test_a_misspelt_tag_names_the_nearest() -> None:
    [problem] = problems_of(Filter={"SeriesDescripton": "x"})
    assert problem.endswith("did you mean SeriesDescription?")
    [problem] = problems_of(Filter={"AnyOf": [{"SliceThicknes": "x"}]})
    assert problem.endswith("did you mean SliceThickness?")
    [problem] = problems_of(Filter={"Qxyz": "x"})
    assert problem.endswith("'Qxyz' is not a known attribute; write it as its number, 0018,1210")


def test_a_deeply_nested_spec_of_weights_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "liver.json").write_text("[" * 100_000)
    [problem] = problems_of(Weights=str(tmp_path))
    assert "Weights" in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(problems_of(Automatic=3, Retries=-1, Nonsense=0)) == 3


@pytest.mark.parametrize("section", [[], "CT", 7, None])
def test_a_section_that_is_no_object(section: Any) -> None:
    assert read_settings({"LiverSegmentation": section})[1] == [
        "LiverSegmentation must be an object"
    ]


def test_no_section_at_all_means_the_defaults() -> None:
    settings, problems = read_settings({})
    assert settings == Settings()
    # The default interpreter is there only where the project was installed.
    assert all("LiverSegmentation.Interpreter" in one for one in problems)
