"""How a case's files come to a worker: by Orthanc's REST or by DICOMweb, each judged by its MD5.

By DICOMweb the series comes in one answer, in no order, and perhaps with what is no image of the
case: a file is the one whose MD5 Orthanc told, so the bytes are the same in both ways.
"""

from __future__ import annotations

import base64
import http.client
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from orthanc_liver.cluster.orthancs import Address
from orthanc_liver.engine.cluster_case import Case
from orthanc_liver.host.jobs.source import md5_of
from orthanc_liver.host.server.trust import trusting
from orthanc_liver.liver_errors import LiverError

_TIMEOUT_S = 30.0
# An Orthanc that restarts is away for some seconds.
_TRIES = 4
_AGAIN_S = 5.0
# As they are stored: nothing may be compressed otherwise on the way.
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
# 1,000 slices of 512 x 512; what comes later waits at Orthanc until some were taken.
_HELD_BYTES = 512 * 2**20


class CannotFetch(LiverError):
    """str(error) says what did not come, and from which Orthanc by its name."""


class NotLetIn(CannotFetch):
    """The worker's file of Orthancs does not hold what this Orthanc asks for."""


class _Refused(http.client.HTTPException):
    """Orthanc answers otherwise than with what was asked for."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.may_pass = status >= http.HTTPStatus.INTERNAL_SERVER_ERROR


def files_of(case: Case, address: Address) -> Iterator[bytes]:
    """All files of a case, in whatever order; CannotFetch."""
    wanted = dict(zip(case.instances, case.md5, strict=True))
    failures = 0
    while wanted:
        connection = _connection(address)
        try:
            for file in _files(case, address, connection, wanted):
                failures = 0
                yield file
        except (OSError, http.client.HTTPException) as error:
            failures += 1
            if failures == _TRIES or not _may_pass(error):
                raise _cannot_fetch(next(iter(wanted)), address, error) from None
            time.sleep(_AGAIN_S)
        finally:
            connection.close()


def _may_pass(error: Exception) -> bool:
    if isinstance(error, _Refused):
        return error.may_pass
    return not isinstance(error, ssl.SSLCertVerificationError)


def _cannot_fetch(instance: str, address: Address, error: Exception) -> CannotFetch:
    said = f"instance {instance} did not come from Orthanc {address.name}: "
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted ({error.verify_message})"
        return NotLetIn(f"{said}{why}; CaFile names who signed it")
    if not isinstance(error, _Refused):
        return CannotFetch(said + type(error).__name__)
    if error.status not in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        return CannotFetch(f"{said}{error}")
    of_whom = f"Username and Password of {address.name} in the worker's orthancs file"
    return NotLetIn(f"{said}{error}; {of_whom} must be those of a user who may read it")


def _files(
    case: Case,
    address: Address,
    connection: http.client.HTTPConnection,
    wanted: dict[str, str],
) -> Iterator[bytes]:
    """The files that come over one connection; takes them out of those that are wanted."""

    def answer(path: str, accept: str) -> http.client.HTTPResponse:
        return _answer(address, connection, path, accept)

    if not address.dicom_web:
        yield from _by_rest(answer, wanted)
        return
    series = f"{address.dicom_web}/studies/{case.study_uid}/series/{case.series_uid}"
    by_md5 = {md5: instance for instance, md5 in wanted.items()}
    for file in _parts(answer(series, _AS_STORED)):
        if instance := by_md5.pop(md5_of(file), ""):
            del wanted[instance]
            yield file
    if wanted:
        raise _changed(next(iter(wanted)))


def _by_rest(
    answer: Callable[[str, str], http.client.HTTPResponse], wanted: dict[str, str]
) -> Iterator[bytes]:
    for instance, md5 in list(wanted.items()):
        file = answer(f"/instances/{instance}/file", "*/*").read()
        if md5_of(file) != md5:
            raise _changed(instance)
        del wanted[instance]
        yield file


def _changed(instance: str) -> CannotFetch:
    return CannotFetch(f"instance {instance} is not the file any more that was to be read")


def _parts(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The parts of a multipart answer, whose lengths Orthanc tells."""
    boundary = f"--{response.headers.get_param('boundary', '')}".encode()
    while line := response.readline():
        if line.strip() == boundary + b"--":
            return
        if line.strip() != boundary:
            continue
        length = 0
        for name, _, value in (head.partition(b":") for head in iter(response.readline, b"\r\n")):
            if not name:
                raise http.client.IncompleteRead(b"")
            if name.lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
        yield _exactly(response, length)
    raise http.client.IncompleteRead(b"")


def _exactly(response: http.client.HTTPResponse, length: int) -> bytes:
    content = response.read(length)
    if len(content) != length or not length:
        raise http.client.IncompleteRead(b"")
    return content


def _answer(
    address: Address, connection: http.client.HTTPConnection, path: str, accept: str
) -> http.client.HTTPResponse:
    headers = {"Accept": accept}
    if address.username:
        told = f"{address.username}:{address.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(told).decode()}"
    connection.request("GET", urlsplit(address.url).path + path, headers=headers)
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        raise _Refused(response.status)
    return response


def _connection(address: Address) -> http.client.HTTPConnection:
    parts = urlsplit(address.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    context = trusting(address.ca_file)
    return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)


class HeldFiles(queue.Queue[bytes | Exception | None]):
    """Full when it holds maxsize bytes: a slice has half a megabyte, or thirty."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: bytes | Exception | None) -> None:
        super()._put(item)
        self._bytes += _bytes_of(item)

    def _get(self) -> bytes | Exception | None:
        item: bytes | Exception | None = super()._get()
        self._bytes -= _bytes_of(item)
        return item


def _bytes_of(item: bytes | Exception | None) -> int:
    return 1 + len(item) if isinstance(item, bytes) else 1  # what holds one item is not empty


class Fetch:
    """The files of one case, which come in a thread of its own from now on."""

    def __init__(self, case: Case, address: Address) -> None:
        self.key = case.key
        self.has_failed = False
        self.is_closed = False
        self._files = HeldFiles(_HELD_BYTES)
        threading.Thread(target=self._run, args=(case, address), name="fetch", daemon=True).start()

    def __iter__(self) -> Iterator[bytes]:
        """Each file as soon as it is there; CannotFetch. Once."""
        while (file := self._files.get()) is not None:
            if isinstance(file, Exception):
                raise file
            yield file

    def close(self) -> None:
        """Nobody wants them any more."""
        self.is_closed = True
        with suppress(queue.Empty):
            while True:
                self._files.get_nowait()

    def _run(self, case: Case, address: Address) -> None:
        end = None
        try:
            for file in files_of(case, address):
                self._files.put(file)
                if self.is_closed:
                    return
        except Exception as error:  # noqa: BLE001 it is raised where the files are taken
            self.has_failed, end = True, error
        self._files.put(end)
