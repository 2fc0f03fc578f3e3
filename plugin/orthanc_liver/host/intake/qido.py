"""QIDO-RS in a thread of ours: Orthanc's own call would hold Python's global lock, and with it all
of Python inside Orthanc, for as long as the other side is silent."""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from orthanc_liver.host.errors import NotPulled, NotPulledYet
from orthanc_liver.host.intake.call_deadline import CallDeadline, WatchedHttp, WatchedHttps
from orthanc_liver.host.server.trust import trusting
from orthanc_liver.host.server.web_servers import WebServer

# Less than for what a thread is waited when Orthanc stops.
TIMEOUT_S = 8.0
_MOST_BYTES = 1024 * 1024
_REFUSED = (401, 403)


def find_studies(server: WebServer, place: str, query: Mapping[str, str]) -> bytes:
    """What the server answers to GET /studies, as it came; place: the server, for a sentence.

    NotPulled, or NotPulledYet where it may pass.
    """
    if server.has_smart_card:
        raise NotPulled(f"{place} wants a smart card (Pkcs11), with which only Orthanc can ask")
    if "@" in urlsplit(server.url).netloc:
        raise NotPulled(
            f"{place} has a user in its Url: enter user and password as Username and Password"
        )
    request = urllib.request.Request(  # noqa: S310 web_servers_of admits http and https only
        f"{server.url}/studies?{urlencode(query)}",
        headers={**server.headers, "Accept": "application/dicom+json"},
    )
    if server.username:
        known = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {known}")
    with CallDeadline(TIMEOUT_S) as deadline:
        return _answer(_opener(server, place, deadline), request, place, deadline)


def _answer(
    opener: urllib.request.OpenerDirector,
    request: urllib.request.Request,
    place: str,
    deadline: CallDeadline,
) -> bytes:
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            read: bytes = answer.read(_MOST_BYTES + 1)
        if deadline.has_passed:  # what was cut off may look whole
            raise TimeoutError
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _REFUSED:
            raise NotPulled(
                f"{place} refuses the user or the password of DicomWeb.Servers"
            ) from error
        raise NotPulledYet(f"{place} answers with HTTP status {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = _problem(TimeoutError() if deadline.has_passed else error)
        raise NotPulledYet(f"{place} {problem}") from error
    if len(read) > _MOST_BYTES:
        raise NotPulledYet(f"{place} answers with more than {_MOST_BYTES >> 20} MiB")
    return read


class _NotElsewhere(urllib.request.HTTPRedirectHandler):
    """Our password is not for wherever an answer leads."""

    def redirect_request(self, *_: Any) -> None:
        """Whoever asked is told of the status."""


def _opener(server: WebServer, place: str, deadline: CallDeadline) -> urllib.request.OpenerDirector:
    try:
        context = _context(server)
    except OSError as error:
        raise NotPulled(
            f"HttpsCACertificates, or the certificate in DicomWeb.Servers for {place}, cannot be "
            f"read: {error.strerror or type(error).__name__}"
        ) from error
    proxy = server.proxy if "://" in server.proxy else f"http://{server.proxy}"
    proxies = dict.fromkeys(("http", "https"), proxy) if server.proxy else None
    return urllib.request.build_opener(
        _NotElsewhere,
        urllib.request.ProxyHandler(proxies),
        WatchedHttp(deadline),
        WatchedHttps(deadline, context=context),
    )


def _context(server: WebServer) -> ssl.SSLContext:
    context = trusting(server.ca_file)
    if not server.is_verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key, password = server.certificate
    if certificate:
        context.load_cert_chain(certificate, key or None, password or None)
    return context


def _problem(error: Exception) -> str:
    """Without the address, which may hold a password, or the study's number."""
    why = getattr(error, "reason", error)
    if isinstance(why, TimeoutError):
        return f"did not answer within {TIMEOUT_S:.0f} s"
    if isinstance(why, ssl.SSLCertVerificationError):
        return (
            "has a certificate that is not trusted: name its authority in HttpsCACertificates "
            f"({why.verify_message})"
        )
    if isinstance(why, OSError) and why.strerror:
        return f"cannot be reached: {why.strerror}"
    return f"does not answer as it should: {type(why).__name__}"
