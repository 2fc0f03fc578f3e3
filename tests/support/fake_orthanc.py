"""The `orthanc` module without Orthanc, and a server of it as a client sees one.

Nothing happens by itself: a test says when a series is stable. Whether the fake answers as the
real one does is asked in tests/plugin/host/server/test_fake_orthanc.py.
"""

# ruff: noqa: N802, N803 (the names are Orthanc's own)

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pydicom
import requests

from orthanc_liver.host.plugin import register
from tests.support.ct_writer import to_bytes
from tests.support.fake_archive import (
    INEXISTENT_ITEM,
    UNKNOWN_RESOURCE,
    Archive,
    OrthancException,
)
from tests.support.orthanc_server import OrthancServer, headers_of

HOST = "127.0.0.1:8042"


class ChangeType(IntEnum):
    """What a change callback hears of."""

    DELETED = 1
    NEW_SERIES = 4
    STABLE_SERIES = 8
    STABLE_STUDY = 9
    ORTHANC_STARTED = 10
    ORTHANC_STOPPED = 11


class ResourceType(IntEnum):
    """What a change is of."""

    SERIES = 2


_CHANGE_NOTHING = ("/tools/find", "/tools/lookup")


class FakeOrthanc:
    """One run of an Orthanc on an archive; satisfies OrthancModule.

    writes: every call that changed something, in order. Before write number `dies_before`, or
    after `die`, it is as if Orthanc had been killed: who calls it waits for ever, for a thread of
    a dead process comes no further.
    """

    OrthancException: type[Exception] = OrthancException
    ChangeType: Any = ChangeType
    ResourceType: Any = ResourceType

    def __init__(self, archive: Archive, configuration: Mapping[str, Any]) -> None:
        self.archive = archive
        self.said: list[str] = []
        self.explorer_js = ""
        self.writes: list[str] = []
        self.dies_before: int | None = None
        self.dead = threading.Event()
        self.on_change: Callable[[int, int, str], None] = lambda change, level, resource: None
        self.on_rest: dict[str, Callable[..., None]] = {}
        self._configuration = configuration
        archive.on_deleted = self._series_is_gone

    def RestApiGet(self, uri: str) -> bytes:
        self._go_on()
        return self.archive.rest("GET", uri)

    def RestApiPost(self, uri: str, body: bytes) -> bytes:
        if uri in _CHANGE_NOTHING:
            self._go_on()
            return self.archive.rest("POST", uri, body)
        return self._write("POST", uri, body)

    def RestApiPut(self, uri: str, body: bytes) -> bytes:
        return self._write("PUT", uri, body)

    def RestApiDelete(self, uri: str) -> None:
        self._write("DELETE", uri, b"")

    RestApiGetAfterPlugins = RestApiGet
    RestApiPostAfterPlugins = RestApiPost

    def GetDicomForInstance(self, instanceId: str) -> bytes:
        return self.RestApiGet(f"/instances/{instanceId}/file")

    def DicomBufferToJson(
        self,
        buffer: bytes,
        format: int,  # noqa: A002 Orthanc's name
        flags: int,
        maxStringLength: int,
    ) -> str:
        return self.archive.attributes(buffer)

    def GetGlobalProperty(self, property: int, defaultValue: str) -> str:  # noqa: A002
        self._go_on()
        return self.archive.properties.get(property, defaultValue)

    def SetGlobalProperty(self, property: int, value: str) -> None:  # noqa: A002
        self._go_on(f"property {property}")
        self.archive.properties[property] = value

    def GetConfiguration(self) -> str:
        return json.dumps(self._configuration)

    def LogWarning(self, message: str) -> None:
        self._go_on()
        self.said.append(message)

    LogError = LogWarning

    def RegisterRestCallback(self, uri: str, callback: Callable[..., None]) -> None:
        self.on_rest[uri] = callback

    def RegisterOnChangeCallback(self, callback: Callable[[int, int, str], None]) -> None:
        self.on_change = callback

    def ExtendOrthancExplorer(self, javascript: str) -> None:
        self.explorer_js = javascript

    def die(self) -> None:
        """As by kill -9."""
        self.dead.set()

    def _series_is_gone(self, series: str) -> None:
        if not self.dead.is_set():
            self.on_change(ChangeType.DELETED, ResourceType.SERIES, series)

    def _write(self, method: str, uri: str, body: bytes) -> bytes:
        self._go_on(f"{method} {uri}")
        return self.archive.rest(method, uri, body)

    def _go_on(self, write: str = "") -> None:
        if write and len(self.writes) == self.dies_before:
            self.die()
        if self.dead.is_set():
            threading.Event().wait()
        if write:
            self.writes.append(write)


class Answer:
    """Where the answer to a REST call goes: Orthanc's output object."""

    def __init__(self) -> None:
        self.response = requests.Response()
        self.response.status_code = HTTPStatus.OK

    def AnswerBuffer(self, answer: bytes | str, mimeType: str) -> None:
        self.response._content = answer.encode() if isinstance(answer, str) else answer
        self.response.headers["Content-Type"] = mimeType

    def SendMethodNotAllowed(self, allowedMethods: str) -> None:
        self.response.status_code = HTTPStatus.METHOD_NOT_ALLOWED
        self.response.headers["Allow"] = allowedMethods

    def SetHttpHeader(self, key: str, value: str) -> None:
        self.response.headers[key] = value

    def SendHttpStatus(self, status: int, body: str) -> None:
        self.response.status_code = status
        self.response._content = body.encode()


class FakeServer(OrthancServer):
    """Like OrthancServer without a process: the same calls, answered by the plugin itself.

    script: what Orthanc would import, given the module. children: the processes that it started.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Mapping[str, Any],
        script: Callable[[FakeOrthanc], None] = register,
        children: Callable[[], list[int]] = list,
    ) -> None:
        super().__init__(folder, overrides)
        self._script, self._children = script, children
        self.archive = Archive()
        self.module = FakeOrthanc(self.archive, {})
        self._said: list[str] = []

    def start(self) -> None:
        configuration = self._configuration()
        self.archive.settings = configuration
        for name, (title, *_) in configuration.get("DicomModalities", {}).items():
            self.archive.modalities[name] = {"AET": title}
        servers = configuration["DicomWeb"].get("Servers", {})
        self.archive.servers = {name: url for name, (url, *_) in servers.items()}
        self.module = FakeOrthanc(self.archive, configuration)
        self._script(self.module)
        self.module.on_change(ChangeType.ORTHANC_STARTED, -1, "")

    def stop(self) -> None:
        if not self.module.dead.is_set():
            self.module.on_change(ChangeType.ORTHANC_STOPPED, -1, "")
            self.kill9()

    def kill9(self) -> None:
        self.module.die()
        for pid in self._children():
            os.kill(pid, signal.SIGKILL)
        self._said += self.module.said
        self.module.said = []

    def log(self) -> str:
        return "\n".join([*self._said, *self.module.said])

    def settle(self, series: str) -> None:
        """Let Orthanc find that nothing arrives any more."""
        self.archive.settle(series)
        self.module.on_change(ChangeType.STABLE_SERIES, ResourceType.SERIES, series)

    def send(self, datasets: Iterable[pydicom.Dataset]) -> None:
        stored = [self.call("POST", "/instances", to_bytes(one)).json() for one in datasets]
        for one in stored:
            self.call("PUT", f"/instances/{one['ID']}/metadata/RemoteAET", b"SENDER")
        for series in {one["ParentSeries"] for one in stored}:
            self.settle(series)

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        answer = Answer()
        address = urlsplit(path)
        uri = "/" + "/".join(unquote(part) for part in address.path.split("/") if part)
        for pattern, callback in self.module.on_rest.items():
            if found := re.fullmatch(pattern, uri):
                sent = {"host": HOST, **headers_of(path, headers)}
                raw: dict[str, Any] = {
                    "method": method,
                    "groups": found.groups(),
                    "headers": {name.lower(): value for name, value in sent.items()},
                }
                if method == "GET":
                    raw["get"] = dict(parse_qsl(address.query, keep_blank_values=True))
                if method in ("POST", "PUT"):
                    raw["body"] = body
                callback(answer, uri, **raw)
                return answer.response
        try:
            answer.AnswerBuffer(self.archive.rest(method, path, body), "application/json")
        except OrthancException as error:
            missing = error.args[0] in (UNKNOWN_RESOURCE, INEXISTENT_ITEM)
            answer.response.status_code = HTTPStatus.NOT_FOUND if missing else 400
        return answer.response
