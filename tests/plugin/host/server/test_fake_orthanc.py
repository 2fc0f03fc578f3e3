"""The fake Orthanc is asked what a real one is asked, by one script in both, and answers alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.plugin.host.series import small_ct
from tests.support import orthanc_calls
from tests.support.ct_writer import to_bytes
from tests.support.fake_orthanc import FakeServer
from tests.support.orthanc_server import CHECKOUT, OrthancServer
from tests.support.patience import wait_for

# Each Orthanc has its own.
OWN = {"LastUpdate", "Seq", "Last"}
NOWHERE = "-".join(["00000000"] * 5)
SCRIPT = f"""
import orthanc, sys
sys.path.insert(0, {str(CHECKOUT)!r})
from tests.support.orthanc_calls import register
register(orthanc)
"""
NEIGHBOURS = {
    "StableAge": 1,
    "DicomModalities": {"pacs": ["PACS", "127.0.0.1", 1]},
    "DicomWeb": {"Servers": {"archive": ["http://127.0.0.1:1/"]}},
}


class Asked:
    """An Orthanc with the script, and all that it answered."""

    def __init__(self, server: OrthancServer) -> None:
        self.server = server
        self.answers: list[tuple[str, Any]] = []

    def call(self, function: str, *arguments: Any) -> Any:
        """One call of the module; returns the JSON or text that it answered, or the error."""
        shown = [{"Bytes": a.decode("latin-1")} if isinstance(a, bytes) else a for a in arguments]
        body = {"Function": function, "Arguments": shown}
        told = self.server.post(f"/calls/{orthanc_calls.CALL}", body)
        with suppress(KeyError, TypeError, ValueError):
            told = {**told, "Answer": json.loads(told["Answer"])}
        self.answers.append((f"{function} {str(arguments[0])[:60]}", told))
        return told.get("Answer")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("real")
    (folder / "calls.py").write_text(SCRIPT)
    server = OrthancServer(folder, NEIGHBOURS | {"PythonScript": str(folder / "calls.py")})
    with server.until_killed():
        yield Asked(server)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    server = FakeServer(tmp_path_factory.mktemp("fake"), NEIGHBOURS, script=orthanc_calls.register)
    with server.until_killed():
        yield Asked(server)


def converse(one: Asked) -> None:
    """Every kind of call that the host makes, those that go wrong included."""
    series, study, instance = arrive(one)
    read(one, series, study, instance)
    write(one, series)
    delete(one, series, study, instance)


def arrive(one: Asked) -> tuple[str, str, str]:
    """Returns series, study and the first of three instances."""
    files = [to_bytes(dataset) for dataset in small_ct("contract", slices=3)]
    stored = [one.call("RestApiPost", "/instances", file) for file in [*files, files[1]]]
    instance, series, study = (stored[0][key] for key in ("ID", "ParentSeries", "ParentStudy"))
    one.call("RestApiPost", "/instances", b"no DICOM file")
    if isinstance(one.server, FakeServer):
        one.server.settle(series)
    heard = f"/calls/{orthanc_calls.HEARD}"
    one.answers.append(("heard", wait_for("it is stable", lambda: one.server.get(heard))))
    for file in (files[0], b"no DICOM file"):
        one.call("DicomBufferToJson", file, 3, 0, 0)
    return series, study, instance


def read(one: Asked, series: str, study: str, instance: str) -> None:
    for resource in (f"/series/{series}", f"/studies/{study}", f"/instances/{instance}"):
        one.call("RestApiGet", resource)
        one.call("RestApiGet", f"{resource}/metadata/4501")
        one.call("RestApiGet", f"{resource}/attachments/4502/data")
    for path in (
        *(f"/studies/{study}/series", f"/series/{series}/study", f"/series/{series}/instances"),
        *(f"/instances/{instance}/series", f"/instances/{instance}/simplified-tags"),
        f"/instances/{instance}/attachments/dicom/md5",
        *(f"/instances/{instance}/content/0020-0032", f"/instances/{instance}/content/0009-0001"),
        *("/changes?last", "/changes?since=0&limit=3", "/changes?since=0&limit=100"),
        *("/modalities", "/modalities?expand", "/jobs/nothing", "/nothing"),
        *(f"/series/{NOWHERE}", f"/instances/{NOWHERE}", f"/series/{NOWHERE}/metadata/4501"),
    ):
        one.call("RestApiGet", path)
    one.call("RestApiGetAfterPlugins", "/dicom-web/servers")
    one.call("GetDicomForInstance", instance)
    one.call("GetDicomForInstance", NOWHERE)
    for date, limit in (("20250101-20250131", 9), ("20250104-20250131", 9)):
        query = {"Level": "Study", "Query": {"StudyDate": date}, "Limit": limit}
        one.call("RestApiPost", "/tools/find", json.dumps(query).encode())
    one.call("RestApiPost", "/modalities/nobody/store", b'{"Resources": []}')


def write(one: Asked, series: str) -> None:
    for place in (f"/series/{series}/metadata/4501", f"/series/{series}/attachments/4502"):
        data = "/data" if "attachments" in place else ""
        for content in (b"first", b"second"):
            one.call("RestApiPut", place, content)
            one.call("RestApiGet", place + data)
            if data:
                one.call("RestApiGet", place + "/size")
        one.call("RestApiGet", f"/series/{series}/metadata")
        one.call("RestApiDelete", place)
        one.call("RestApiGet", place + data)
        one.call("RestApiPut", place.replace(series, NOWHERE), b"content")
    for uid in ("SeriesInstanceUID", "SOPInstanceUID"):
        one.call("RestApiPost", "/tools/lookup", str(small_ct("contract")[0][uid].value).encode())
    for number in (4501, 4502):
        one.call("GetGlobalProperty", number, "nothing yet")
        one.call("SetGlobalProperty", number, "kept")
        one.call("GetGlobalProperty", number, "nothing yet")


def delete(one: Asked, series: str, study: str, instance: str) -> None:
    one.call("RestApiDelete", f"/instances/{instance}")
    one.call("RestApiDelete", f"/instances/{instance}")
    one.call("RestApiGet", f"/series/{series}")
    one.call("RestApiGet", "/changes?since=0&limit=100")
    one.call("RestApiDelete", f"/series/{series}")
    one.call("RestApiGet", f"/studies/{study}")
    one.call("RestApiGet", "/changes?since=0&limit=100")


def differences(fake: Any, real: Any) -> list[str]:
    """Where what the fake says is not what the real one says; the real one may say more."""
    if isinstance(fake, dict) and isinstance(real, dict):
        return [
            f"{key}: {found}"
            for key, value in fake.items()
            for found in (
                ["absent in the real one"]
                if key not in real
                else differences(type(value).__name__, type(real[key]).__name__)
                if key in OWN
                else differences(value, real[key])
            )
        ]
    if isinstance(fake, list) and isinstance(real, list) and len(fake) == len(real):
        pairs = enumerate(zip(fake, real, strict=True))
        return [f"[{n}] {found}" for n, pair in pairs for found in differences(*pair)]
    return [] if fake == real else [f"{fake!r} instead of {real!r}"]


def test_the_fake_answers_as_the_real_one(fake: Asked, real: Asked) -> None:
    for one in (fake, real):
        converse(one)
    said = [
        f"{name}: {found}"
        for (name, ours), (_, theirs) in zip(fake.answers, real.answers, strict=True)
        for found in differences(ours, theirs)
    ]
    assert said == [], "\n".join(said)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/calls/some/where?expand&series=x"),
        ("POST", "/calls/some/where"),
        ("PUT", "/calls/some%20where"),
        ("DELETE", "/calls/some/where/"),
    ],
)
def test_a_rest_callback_hears_what_it_hears_in_the_real_one(
    fake: Asked, real: Asked, method: str, path: str
) -> None:
    heard = [one.server.call(method, path, b"body").json() for one in (fake, real)]
    assert heard[0] == heard[1]
