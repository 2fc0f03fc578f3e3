"""What a worker fetches from an Orthanc, by its REST and by DICOMweb, and reads ahead."""

from __future__ import annotations

import base64
import hashlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orthanc_liver.cluster import fetching
from orthanc_liver.cluster.ahead import Ahead
from orthanc_liver.cluster.fetching import CannotFetch, Fetch, HeldFiles, NotLetIn, files_of
from orthanc_liver.cluster.orthancs import Address
from orthanc_liver.engine.cluster_case import Case
from orthanc_liver.engine.protocol import JobSettings
from tests.support.patience import wait_for

IDS = tuple(f"6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b71{n}" for n in range(3))
FILES = (b"one\r\n--x", b"two", b"three" * 999)
CASE = Case(
    "north", "0f8fad5b-d9cb-469f-a165-70867728950e", 1, IDS[0], "1.2", "1.2.3", IDS,
    tuple(hashlib.md5(one, usedforsecurity=False).hexdigest() for one in FILES),
    JobSettings(), "a" * 64, 60,
)  # fmt: skip
SERIES = "/orthanc/dicom-web/studies/1.2/series/1.2.3"


class Archive(ThreadingHTTPServer):
    """Answers as it is told to, the first first, and then with a file, or with all of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.asked: list[tuple[str, str]] = []
        self.files = {f"/orthanc/instances/{i}/file": f for i, f in zip(IDS, FILES, strict=True)}
        self.series = [b"a report", FILES[2], FILES[0], FILES[1]]
        self.cut_off_once = False

    def content(self, path: str) -> tuple[str, bytes]:
        """What is at a path."""
        if path != SERIES:
            return "application/dicom", self.files[path]
        parts = [
            b"--x\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\n\r\n%b\r\n"
            % (len(one), one)
            for one in self.series
        ]
        return 'multipart/related; boundary="x"; type="application/dicom"', b"".join(
            [*parts, b"--x--\r\n"]
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        archive = self.server
        assert isinstance(archive, Archive)
        archive.asked.append((self.path, self.headers.get("Authorization", "")))
        kind, content = archive.content(self.path)
        self.send_response(archive.statuses.pop(0) if archive.statuses else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if archive.cut_off_once:
            archive.cut_off_once = False
            self.close_connection = True
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.setattr(fetching, "_AGAIN_S", 0.0)
    with Archive() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def address(archive: Archive, dicom_web: str = "") -> Address:
    url = f"http://127.0.0.1:{archive.server_port}/orthanc"
    return Address("north", url, "worker", "s3cret", dicom_web=dicom_web)


WAYS = pytest.mark.parametrize("dicom_web", ["", "/dicom-web"])


@WAYS
def test_files_are_fetched_as_the_user(archive: Archive, dicom_web: str) -> None:
    assert sorted(files_of(CASE, address(archive, dicom_web))) == sorted(FILES)
    user = f"Basic {base64.b64encode(b'worker:s3cret').decode()}"
    paths = [SERIES] if dicom_web else list(archive.files)
    assert archive.asked == [(path, user) for path in paths]


@WAYS
def test_an_orthanc_in_trouble_is_asked_again(archive: Archive, dicom_web: str) -> None:
    archive.statuses = [503, 500, 500]
    assert sorted(files_of(CASE, address(archive, dicom_web))) == sorted(FILES)


@WAYS
def test_an_answer_that_breaks_off_is_asked_for_again(archive: Archive, dicom_web: str) -> None:
    archive.cut_off_once = True
    assert sorted(files_of(CASE, address(archive, dicom_web))) == sorted(FILES)


@WAYS
@pytest.mark.parametrize(
    ("statuses", "asked"), [([404], 1), ([401], 1), ([403], 1), ([500] * 9, 4)]
)
def test_what_does_not_come_is_told_by_orthancs_name(
    archive: Archive, dicom_web: str, statuses: list[int], asked: int
) -> None:
    archive.statuses = statuses[:]
    with pytest.raises(CannotFetch, match=f"north.*{statuses[0]}") as refused:
        list(files_of(CASE, address(archive, dicom_web)))
    assert len(archive.asked) == asked
    assert "s3cret" not in str(refused.value)
    is_ours = statuses[0] in (401, 403)
    assert isinstance(refused.value, NotLetIn) == is_ours
    assert ("Username and Password of north" in str(refused.value)) == is_ours


@WAYS
def test_a_file_that_was_replaced_is_none_of_the_case(archive: Archive, dicom_web: str) -> None:
    md5 = (*CASE.md5[:2], "0" * 32)
    with pytest.raises(CannotFetch, match=f"{IDS[2]} is not the file any more"):
        list(files_of(replace(CASE, md5=md5), address(archive, dicom_web)))


@pytest.fixture
def ahead(archive: Archive) -> Iterator[Ahead]:
    one = Ahead({"north": address(archive)})
    yield one
    one.close()


def test_what_was_told_is_fetched_before_it_is_asked_for_and_once(
    archive: Archive, ahead: Ahead
) -> None:
    ahead.listen()
    ahead.tell(CASE.as_text())
    wait_for("the files", lambda: len(archive.asked) == len(FILES))
    assert list(ahead.files_of(CASE, address(archive))) == list(FILES)
    assert len(archive.asked) == len(FILES)
    assert list(ahead.files_of(CASE, address(archive))) == list(FILES)
    assert len(archive.asked) == 2 * len(FILES)


def test_a_case_that_cuts_in_leaves_what_was_read_ahead(archive: Archive, ahead: Ahead) -> None:
    ahead.fetch(CASE.as_text())
    other = replace(CASE, instances=IDS[:2], md5=CASE.md5[:2])
    assert list(ahead.files_of(other, address(archive))) == list(FILES[:2])
    assert list(ahead.files_of(CASE, address(archive))) == list(FILES)
    assert len(archive.asked) == 2 + len(FILES)


def test_what_could_not_be_read_ahead_is_fetched_in_its_turn(
    archive: Archive, ahead: Ahead
) -> None:
    archive.statuses = [404]
    ahead.fetch(CASE.as_text())
    wait_for("the failure", lambda: ahead._next and ahead._next.has_failed)
    assert list(ahead.files_of(CASE, address(archive))) == list(FILES)


@pytest.mark.parametrize("text", ["", "rubbish", replace(CASE, orthanc="unknown").as_text()])
def test_another_word_ends_the_reading_ahead(archive: Archive, ahead: Ahead, text: str) -> None:
    ahead.fetch(CASE.as_text())
    ahead.fetch(text)
    assert ahead._next is None
    assert list(ahead.files_of(CASE, address(archive))) == list(FILES)


def test_a_case_that_is_answered_leaves_nothing_that_was_read_ahead_of_it(ahead: Ahead) -> None:
    ahead.fetch(CASE.as_text())
    former = ahead._next
    assert former
    ahead.forget(replace(CASE, attempt=2))
    assert ahead._next is former
    ahead.forget(CASE)
    assert ahead._next is None
    assert former.is_closed


def test_bytes_are_held_up_to_a_limit_however_many_files_they_are() -> None:
    held = HeldFiles(100)
    for _ in range(10):
        held.put_nowait(b"x" * 9)
    with pytest.raises(queue.Full):
        held.put_nowait(b"")
    assert held.get_nowait() == b"x" * 9
    held.put_nowait(b"x" * 999)
    with pytest.raises(queue.Full):
        held.put_nowait(None)
    while not held.empty():
        held.get_nowait()
    held.put_nowait(None)  # the end is something too
    assert held.get_nowait() is None


def test_files_beyond_what_may_be_held_wait_at_orthanc(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_HELD_BYTES", 1)
    fetch = Fetch(CASE, address(archive))
    wait_for("a second file", lambda: len(archive.asked) > 1)
    assert len(archive.asked) == 2
    assert list(fetch) == list(FILES)


def test_a_hint_that_nobody_reads_holds_up_nobody(ahead: Ahead) -> None:
    ids = tuple(f"{n:08x}-00000000-00000000-00000000-00000000" for n in range(1500))
    long = replace(CASE, instances=ids, md5=("0" * 32,) * 1500).as_text()
    for _ in range(50):
        ahead.tell(long)
        ahead.tell("")
