"""What a client asks, as far as it may be believed, and how it is told that it may not."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from orthanc_liver.host.review.reviews import NOBODY
from orthanc_liver.host.server.untrusted_json import UnsafeJson, parse_clients_json
from orthanc_liver.identifiers import RESOURCE

_MAX_BODY_BYTES = 4096
_MAX_USER_CHARS = 64
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class HttpError(Exception):
    """What the client is told instead of an answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request:
    """One call of one route."""

    def __init__(self, groups: tuple[str, ...], raw: Mapping[str, Any]) -> None:
        self.id = groups[0] if groups else ""
        self.query: Mapping[str, str] = raw.get("get", {})
        self._body: bytes = raw.get("body", b"")
        # Calls from within Orthanc (Lua, other plugins) have none.
        headers: Mapping[str, str] = raw.get("headers") or {}
        self._headers = {name.lower(): value.strip() for name, value in headers.items()}

    @property
    def user(self) -> str:
        """Who asks, by the name for which Orthanc has checked the password, or NOBODY."""
        scheme, _, encoded = self._headers.get("authorization", "").partition(" ")
        try:
            name = b64decode(encoded, validate=True).decode().partition(":")[0]
        except ValueError:
            return NOBODY
        return name[:_MAX_USER_CHARS] if name and scheme.lower() == "basic" else NOBODY

    @property
    def wants_text(self) -> bool:
        """Whether the answer is to be read by a person, where it can be."""
        return self._headers.get("accept", "").startswith("text/plain")

    def identifier(self, name: str) -> str:
        """What the query names, a series or a study; HttpError for what cannot be one, so that
        nobody gets all for a name that was empty."""
        given = self.query[name]
        if not re.fullmatch(RESOURCE, given):
            raise HttpError(
                HTTPStatus.BAD_REQUEST, f"{name} must be Orthanc's identifier of a {name}"
            )
        return given

    def refuse_forgeries(self) -> None:
        """HttpError for what a page of another site can make a browser send."""
        if self._is_from_another_site():
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "a request from another site's page is refused; behind a proxy, have it pass on "
                "the Host header",
            )
        media_type = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._body and self._headers and media_type != "application/json":
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "send the body with the header Content-Type: application/json",
            )

    def _is_from_another_site(self) -> bool:
        """The browser's own word counts most: a proxy may not have passed on the name by which
        the browser knows it. Older browsers, and pages without TLS, have only Origin."""
        site = self._headers.get("sec-fetch-site")
        if site is not None:
            return site not in ("same-origin", "none")
        origin = self._headers.get("origin")
        if origin is None:
            return False
        scheme, _, address = origin.lower().partition("://")
        named = (self._headers.get(name, "") for name in ("host", "x-forwarded-host"))
        own = {_without_default_port(one.lower(), scheme) for one in named if one}
        return _without_default_port(address, scheme) not in own

    @property
    def force(self) -> bool:
        """What a body of {"Force": true} asks for; HttpError for any other body than that."""
        if not self._body:
            return False
        body = self._json()
        if not isinstance(body, dict) or not set(body) <= {"Force"}:
            raise HttpError(
                HTTPStatus.BAD_REQUEST, 'the body may be empty or {"Force": true}, nothing else'
            )
        force = body.get("Force", False)
        if not isinstance(force, bool):
            raise HttpError(HTTPStatus.BAD_REQUEST, "Force must be true or false")
        return force

    def fields(self, max_bytes: int = _MAX_BODY_BYTES) -> dict[str, Any]:
        """The body's JSON object; HttpError for any other body."""
        body = self._json(max_bytes)
        if not isinstance(body, dict):
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        return body

    def _json(self, max_bytes: int = _MAX_BODY_BYTES) -> Any:
        if len(self._body) > max_bytes:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body is too long")
        try:
            return parse_clients_json(self._body)
        except UnsafeJson as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"the body {error}") from None
        except ValueError:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None


def _without_default_port(address: str, scheme: str) -> str:
    return address.removesuffix(_DEFAULT_PORTS.get(scheme, ""))
