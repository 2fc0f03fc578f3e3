"""A worker's file of Orthancs, and what it fetches from them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.cluster import orthancs
from orthanc_liver.cluster.orthancs import (
    Address,
    CannotFetch,
    Files,
    OrthancsRefused,
    read_orthancs,
)


def written(folder: Path, content: Any) -> Path:
    path = folder / "orthancs.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_of_two(tmp_path: Path) -> None:
    told = {
        "north": {"Url": "https://north.example/orthanc/", "Username": "u", "Password": "p"},
        "south": {"Url": "http://10.0.0.7:8042", "CaFile": "/etc/ca.pem"},
    }
    assert read_orthancs(written(tmp_path, told)) == {
        "north": Address("north", "https://north.example/orthanc", "u", "p"),
        "south": Address("south", "http://10.0.0.7:8042", ca_file="/etc/ca.pem"),
    }


@pytest.mark.parametrize(
    "told",
    [
        "not JSON",
        [],
        {},
        {"north": "https://north.example"},
        {"north": {"Username": "u"}},
        {"north": {"Url": "https://north.example", "Secret": "s3cret"}},
        {"north": {"Url": "https://north.example", "Password": 7}},
        {"north": {"Url": "https://north.example", "Password": "s3cret\n"}},
        {"north": {"Url": "https://u:s3cret@north.example"}},
        {"north": {"Url": "ftp://north.example"}},
        {"nor/th": {"Url": "https://north.example"}},
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_secrets(tmp_path: Path, told: Any) -> None:
    with pytest.raises(OrthancsRefused) as refused:
        read_orthancs(written(tmp_path, told))
    assert "s3cret" not in str(refused.value)


class Archive(ThreadingHTTPServer):
    """Answers as it is told to, the first first, and then with a file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.asked: list[tuple[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        archive = self.server
        assert isinstance(archive, Archive)
        archive.asked.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(archive.statuses.pop(0) if archive.statuses else 200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"file")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


@pytest.fixture
def files(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(orthancs, "_AGAIN_S", 0.0)
    url = f"http://127.0.0.1:{archive.server_port}/orthanc"
    one = Files(Address("north", url, "worker", "s3cret"))
    yield one
    one.close()


def test_a_file_is_fetched_as_the_user(archive: Archive, files: Files) -> None:
    assert [files.file("1-2"), files.file("3-4")] == [b"file"] * 2
    user = f"Basic {base64.b64encode(b'worker:s3cret').decode()}"
    assert archive.asked == [(f"/orthanc/instances/{one}/file", user) for one in ("1-2", "3-4")]


def test_an_orthanc_in_trouble_is_asked_again(archive: Archive, files: Files) -> None:
    archive.statuses = [503, 500]
    assert files.file("1-2") == b"file"
    assert len(archive.asked) == 3


@pytest.mark.parametrize(("statuses", "asked"), [([404], 1), ([401], 1), ([500] * 9, 4)])
def test_what_does_not_come_is_told_by_orthancs_name(
    archive: Archive, files: Files, statuses: list[int], asked: int
) -> None:
    archive.statuses = statuses[:]
    with pytest.raises(CannotFetch, match=f"north.*{statuses[0]}") as refused:
        files.file("1-2")
    assert len(archive.asked) == asked
    assert "s3cret" not in str(refused.value)
