"""The DICOMweb servers of Orthanc's configuration, as its DICOMweb plugin reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class WebServer:
    """How to ask one. proxy, ca_file: Orthanc's own, empty where it has none; certificate: the file
    with ours, its key's, and the key's password."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: tuple[str, str, str] = field(default=("", "", ""), repr=False)
    has_smart_card: bool = False
    proxy: str = field(default="", repr=False)
    ca_file: str = ""
    is_verified: bool = True


def web_servers_of(configuration: Mapping[str, Any]) -> dict[str, WebServer]:
    """By name. What is no server is left out: the DICOMweb plugin does not start with it."""
    section = configuration.get("DicomWeb", {})
    servers = section.get("Servers", {}) if isinstance(section, dict) else {}
    if not isinstance(servers, dict):
        return {}
    read = {name: _server(entry, configuration) for name, entry in servers.items()}
    return {name: server for name, server in read.items() if server}


def _server(entry: Any, configuration: Mapping[str, Any]) -> WebServer | None:
    if isinstance(entry, list):
        entry = dict(zip(("Url", "Username", "Password"), entry, strict=False))
    if not isinstance(entry, dict) or not _is_address(entry.get("Url")):
        return None
    headers = entry.get("HttpHeaders") or {}
    if not isinstance(headers, dict):
        return None

    def text(name: str, of: Mapping[str, Any] = entry) -> str:
        return str(of.get(name) or "")

    return WebServer(
        url=entry["Url"].rstrip("/"),
        username=text("Username"),
        password=text("Password"),
        headers={str(name): str(value) for name, value in headers.items()},
        certificate=(
            text("CertificateFile"),
            text("CertificateKeyFile"),
            text("CertificateKeyPassword"),
        ),
        has_smart_card=bool(entry.get("Pkcs11", False)),
        proxy=text("HttpProxy", configuration),
        ca_file=text("HttpsCACertificates", configuration),
        is_verified=bool(configuration.get("HttpsVerifyPeers", True)),
    )


def _is_address(url: Any) -> bool:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        return bool(parts and parts.scheme in ("http", "https") and parts.port != 0)
    except ValueError:  # no host, or no port, can be read from it
        return False
