"""What DICOMweb servers may answer to our own QIDO-RS, and what is told of it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from orthanc_liver.host.errors import NotPulled, NotPulledYet
from orthanc_liver.host.intake import qido
from orthanc_liver.host.server.web_servers import WebServer, web_servers_of
from tests.support.certificates import Authority

QUERY = {"AccessionNumber": "SECRET & Söhne"}
ARCHIVE = "DICOMweb server archive"


class Answering(BaseHTTPRequestHandler):
    """Answers what its server was told to, and notes what it was asked."""

    server: Any

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Not on the test's output."""


@contextmanager
def archive(
    status: int = 200, body: bytes = b"[]", tls: tuple[Path, Path] | None = None
) -> Iterator[tuple[WebServer, list[tuple[str, dict[str, str]]]]]:
    server: Any = HTTPServer(("127.0.0.1", 0), Answering)
    server.status, server.body, server.asked = status, body, []
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        scheme = "https" if tls else "http"
        yield WebServer(f"{scheme}://127.0.0.1:{server.server_port}/dicom-web"), server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refusal(server: WebServer) -> NotPulled:
    with pytest.raises(NotPulled) as caught:
        qido.find_studies(server, ARCHIVE, QUERY)
    assert "SECRET" not in str(caught.value)
    return caught.value


def test_it_is_asked_as_the_configuration_says() -> None:
    with archive(body=b"[1]") as (plain, asked):
        section = {
            "Url": f"{plain.url}/",
            "Username": "me",
            "Password": "x",
            "HttpHeaders": {"A": "b"},
        }
        server = web_servers_of({"DicomWeb": {"Servers": {"archive": section}}})["archive"]
        assert qido.find_studies(server, ARCHIVE, QUERY) == b"[1]"
    [(path, headers)] = asked
    assert path == "/dicom-web/studies?AccessionNumber=SECRET+%26+S%C3%B6hne"
    assert headers["Accept"] == "application/dicom+json"
    assert headers["A"] == "b"
    assert headers["Authorization"] == "Basic bWU6eA=="


def test_nothing_fits() -> None:
    with archive(status=204, body=b"") as (server, _):
        assert qido.find_studies(server, ARCHIVE, QUERY) == b""


@pytest.mark.parametrize(
    ("status", "is_worth_another", "why"),
    [
        (401, False, "refuses the user or the password of DicomWeb.Servers"),
        (403, False, "refuses the user or the password of DicomWeb.Servers"),
        (302, True, "answers with HTTP status 302"),
        (503, True, "answers with HTTP status 503"),
    ],
)
def test_it_does_not_want(status: int, is_worth_another: bool, why: str) -> None:
    with archive(status=status) as (server, asked):
        error = refusal(replace(server, username="SECRET"))
    assert str(error) == f"{ARCHIVE} {why}"
    assert isinstance(error, NotPulledYet) is is_worth_another
    assert len(asked) == 1


def test_it_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refusal(WebServer(f"http://127.0.0.1:{port}/dicom-web"))
    assert isinstance(error, NotPulledYet)
    assert str(error) == f"{ARCHIVE} cannot be reached: Connection refused"


def test_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qido, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refusal(WebServer(f"http://127.0.0.1:{silent.getsockname()[1]}/dicom-web"))
    assert isinstance(error, NotPulledYet)
    assert str(error) == f"{ARCHIVE} did not answer within 0 s"


@contextmanager
def dripping(begin: bytes, piece: bytes) -> Iterator[WebServer]:
    """Answers to one call, and goes on until nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            asking, _ = listening.accept()
            with asking, suppress(OSError):
                asking.sendall(begin)
                while not ended.wait(0.01):
                    asking.sendall(piece)

        ended = threading.Event()
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            yield WebServer(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            ended.set()
            thread.join()


OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"X: ", b"a"),
        (OK + CHUNKED + b"2;", b"a"),
        (OK + CHUNKED + b"2\r\n[]\r\n0\r\n", b"X: 1\r\n"),
        (OK + b"\r\n[]", b" "),
        (OK + b"\r\n[", b"1," * 1000),
    ],
    ids=["continue", "header", "size of a chunk", "trailers", "body", "long body"],
)
def test_an_answer_without_an_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(qido, "TIMEOUT_S", 0.4)
    with dripping(begin, piece) as server:
        assert str(refusal(server)) == f"{ARCHIVE} did not answer within 0 s"


def test_a_long_answer_is_not_read_to_its_end() -> None:
    with archive(body=b" " * (1024 * 1024) + b"[]") as (server, _):
        assert str(refusal(server)) == f"{ARCHIVE} answers with more than 1 MiB"


def test_a_user_in_the_address_is_told() -> None:
    told = refusal(WebServer("http://me:SECRET@127.0.0.1/dicom-web"))
    assert not isinstance(told, NotPulledYet)
    assert "enter user and password as Username and Password" in str(told)


python_makes_context = ssl.create_default_context


def strict_context(cafile: str | None) -> ssl.SSLContext:
    """As Python makes one from 3.13 on."""
    context = python_makes_context(cafile=cafile)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("context", [python_makes_context, strict_context])
def test_its_certificate_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: Callable[..., ssl.SSLContext]
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", context)
    authority = Authority(tmp_path / "ours")
    with archive(tls=authority.server("IP:127.0.0.1")) as (server, _):
        error = refusal(server)
        assert str(error).startswith(f"{ARCHIVE} has a certificate that is not trusted")
        assert qido.find_studies(replace(server, is_verified=False), ARCHIVE, QUERY) == b"[]"
        known = replace(server, ca_file=str(authority.ca_file))
        assert qido.find_studies(known, ARCHIVE, QUERY) == b"[]"
        nowhere = refusal(replace(server, ca_file=str(tmp_path / "none.pem")))
        assert str(nowhere).endswith("cannot be read: No such file or directory")


def test_only_orthanc_has_a_smart_card() -> None:
    error = refusal(WebServer("https://127.0.0.1/", has_smart_card=True))
    assert "wants a smart card (Pkcs11)" in str(error)


def test_what_of_the_configuration_is_a_server() -> None:
    servers: dict[str, Any] = {
        "short": ["http://a/"],
        "long": ["https://b/x/", "me", "SECRET"],
        "none": [],
        "ours": "http://c",
        "file": ["file:///etc/passwd"],
        "no host": ["http://[::1"],
        "no port": ["http://d:port/"],
        "no headers": {"Url": "http://e", "HttpHeaders": None, "Password": None},
        "odd headers": {"Url": "http://f", "HttpHeaders": ["A"]},
    }
    configuration = {
        "DicomWeb": {"Servers": servers},
        "HttpProxy": "proxy:3128",
        "HttpsCACertificates": "/ca.pem",
        "HttpsVerifyPeers": False,
    }
    found = web_servers_of(configuration)
    about: dict[str, Any] = {"proxy": "proxy:3128", "ca_file": "/ca.pem", "is_verified": False}
    assert found == {
        "short": WebServer("http://a", **about),
        "long": WebServer("https://b/x", "me", "SECRET", **about),
        "no headers": WebServer("http://e", **about),
    }
    assert "SECRET" not in repr(found)
    assert web_servers_of({"DicomWeb": {"Servers": []}}) == {}
    assert web_servers_of({"DicomWeb": 1}) == {}


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_by_way_of_the_proxy(scheme: str) -> None:
    with archive() as (proxy, asked):
        address = urlsplit(proxy.url).netloc
        server = WebServer("http://archive.invalid/dicom-web", proxy=f"{scheme}{address}")
        assert qido.find_studies(server, ARCHIVE, QUERY) == b"[]"
    assert asked[0][0].startswith("http://archive.invalid/dicom-web/studies?")
