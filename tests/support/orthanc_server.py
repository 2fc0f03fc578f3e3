"""A real Orthanc on free loopback ports, with our orthanc.json, and a C-STORE sender for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import weakref
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pydicom
import requests
from pydicom.uid import UID
from pynetdicom import AE

from tests.support import postgresql
from tests.support.patience import wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0
_START_ATTEMPTS = 3
_NEVER_S = 300.0
_PLUGINS = Path("/usr/share/orthanc/plugins")
_SENDERS = 6
# As the container and the service set it (docs/OPERATE.md); else each slice takes 40 ms more.
_AT_ONCE = {"TCP_NODELAY": "1"}
# Before a command: Linux kills what it starts when the process that started it is gone.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
# What a client sees where Orthanc is killed before an answer, and in the middle of one.
HUNG_UP = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class OrthancServer:
    """One Orthanc and its storage in a folder; may be stopped, killed and started again on it.

    overrides: laid over orthanc.json, objects merged key by key; None takes a setting away.
    Ports of 0 mean any free one.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Mapping[str, Any],
        *,
        http_port: int = 0,
        dicom_port: int = 0,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / "orthanc.log"
        self.overrides = overrides
        self._wanted_ports = (http_port, dicom_port)
        self.http_port = self.dicom_port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where its REST API is."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start it and wait until it answers; RuntimeError with the end of its log otherwise."""
        for attempt in range(_START_ATTEMPTS):
            self._choose_ports()
            self._launch()
            if self._comes_up():
                return
            self.kill9()
            # Between choosing a free port and listening somebody else may have taken it.
            if "port is already in use" not in self.log() or attempt == _START_ATTEMPTS - 1:
                break
        raise RuntimeError(f"Orthanc did not start:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """Stop it as an init system would, with SIGTERM."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                wait_for("Orthanc's end", self.has_ended, _STOP_TIMEOUT_S)
            except TimeoutError:
                self.kill9()
                raise

    def kill9(self) -> None:
        """Kill it without any warning."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def until_killed(self) -> Iterator[None]:
        """Start it and kill it at the end, which is much quicker than stopping it."""
        self.start()
        try:
            yield
        finally:
            self.kill9()

    def restart(self) -> None:
        """Stop and start it on the same storage."""
        self.stop()
        self.start()

    def log(self) -> str:
        """All that it has written, over every start."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def get(self, path: str) -> Any:
        """The JSON at a path; requests.HTTPError where there is none."""
        answer = self.call("GET", path)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON that comes back for a JSON body, or for none."""
        answer = self.call("POST", path, b"" if body is None else json.dumps(body).encode())
        answer.raise_for_status()
        return answer.json()

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Any call of the REST API, whatever the answer; ours is told that a body is JSON."""
        sent = headers_of(path, headers)
        return self._session.request(
            method, self.url + path, data=body, headers=sent, timeout=_NEVER_S
        )

    def answers(self) -> bool:
        """Whether it serves HTTP at this moment."""
        try:
            # 401 is an answer too: overrides may demand a password.
            return self.call("GET", "/system").status_code in (200, 401)
        except HUNG_UP:
            return False

    def lookup(self, uid: str) -> list[dict[str, str]]:
        """What Orthanc has under a DICOM UID: ID, Path and Type of each."""
        answer = self.call("POST", "/tools/lookup", uid.encode())
        answer.raise_for_status()
        return list(answer.json())

    def set_property(self, number: int, text: str) -> None:
        """Replace a global property that is there already; it must not run."""
        if postgresql.port():
            postgresql.set_property(self.folder, number, text)
            return
        with self._index() as index:
            change = "UPDATE GlobalProperties SET value=? WHERE property=?"
            assert index.execute(change, [text, number]).rowcount == 1
            index.commit()

    def properties(self) -> str:
        """All global properties that it or its plugins keep, as text; it must not run."""
        if postgresql.port():
            return postgresql.properties(self.folder)
        with self._index() as index:
            return str(index.execute("SELECT * FROM GlobalProperties").fetchall())

    def send(self, datasets: Iterable[pydicom.Dataset]) -> None:
        """Send datasets by C-STORE."""
        send_by_c_store(datasets, self.dicom_port)

    def _index(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self.folder / "storage" / "index"))

    def _choose_ports(self) -> None:
        http_port, dicom_port = self._wanted_ports
        self.http_port = http_port or free_port()
        self.dicom_port = dicom_port or free_port()

    def _launch(self) -> None:
        if postgresql.port():
            postgresql.create_database(self.folder)
        configuration = self._write_configuration()
        program = orthanc_program()
        if program is None:
            raise FileNotFoundError(
                "Orthanc is not installed: apt-get install orthanc orthanc-python orthanc-dicomweb"
            )
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*ENDS_WITH_US, program, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,  # PythonScript in orthanc.json is relative to it
                env={**_AT_ONCE, **os.environ},
                start_new_session=True,
            )
        weakref.finalize(self, _kill, self.process)

    def _write_configuration(self) -> Path:
        """Return the file or the folder that Orthanc reads."""
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self._configuration(), indent=2))
        return path

    def _configuration(self) -> dict[str, Any]:
        shipped = json.loads((CHECKOUT / "orthanc.json").read_text())
        here: dict[str, Any] = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            # Where PostgreSQL's plugin is loaded, used or not, /tools/reset may end Orthanc.
            "Plugins": [str(one) for one in _PLUGINS.glob("*.so") if "PostgreSQL" not in one.name],
        }
        if postgresql.port():
            here["Plugins"].append(str(postgresql.plugin()))
            here |= postgresql.index_in_database(self.folder)
        whole = merged(merged(shipped, here), self.overrides)
        return {name: value for name, value in whole.items() if value is not None}

    def _comes_up(self) -> bool:
        try:
            wait_for("Orthanc", lambda: self.has_ended() or self.answers(), _START_TIMEOUT_S)
        except TimeoutError:
            return False
        return not self.has_ended()

    def has_ended(self) -> bool:
        """Whether Orthanc's process is no more, or was never started."""
        return self.process is None or self.process.poll() is not None


def headers_of(path: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """What goes with a call: of our routes Content-Type, unless it is given."""
    ours = {"Content-Type": "application/json"} if path.startswith("/liver/") else {}
    return {**ours, **(given or {})}


def send_by_c_store(datasets: Iterable[pydicom.Dataset], port: int) -> None:
    """Send datasets by C-STORE to the DICOM server on a loopback port, in one association."""
    to_send = list(datasets)
    entity = AE(ae_title="SENDER")
    contexts = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in to_send}
    for sop_class, transfer_syntax in sorted(contexts):
        entity.add_requested_context(sop_class, UID(transfer_syntax))
    association = entity.associate("127.0.0.1", port, ae_title="ORTHANC")
    if not association.is_established:
        raise RuntimeError("Orthanc did not accept the association")
    try:
        for dataset in to_send:
            status = association.send_c_store(dataset)
            if not status or status.Status != 0:
                raise RuntimeError(f"C-STORE of {dataset.SOPInstanceUID} failed: {status}")
    finally:
        association.release()


def send_side_by_side(series: Iterable[Iterable[pydicom.Dataset]], port: int) -> None:
    """Send several series at a time, each in an association of its own; returns when all are in."""
    with ThreadPoolExecutor(_SENDERS) as senders:
        list(senders.map(lambda datasets: send_by_c_store(datasets, port), series))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both objects in one; above wins, and objects within are merged likewise."""
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        both = isinstance(value, Mapping) and isinstance(lower, Mapping)
        result[key] = merged(lower, value) if both else value  # type: ignore[arg-type] # both are
    return result


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def orthanc_is_installed() -> bool:
    """Whether the distribution's Orthanc is there, and its plugin for Python."""
    return orthanc_program() is not None and (_PLUGINS / "libOrthancPython.so").exists()


def orthanc_program() -> str | None:
    """The Orthanc of the distribution."""
    return shutil.which("Orthanc", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
