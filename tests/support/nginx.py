"""A real nginx with the configuration that the documents show, in front of an Orthanc."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.orthanc_server import CHECKOUT, ENDS_WITH_US, OrthancServer, free_port
from tests.support.patience import patience_s

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx_as_documented(folder: Path, orthanc: OrthancServer) -> Iterator[str]:
    """Yield the https address before the path; only port, certificate and Orthanc are replaced."""
    port = free_port()
    server = documented_server(
        "INSTALL.md",
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/certs/orthanc.pem": f"{folder}/certificate.pem",
            "/etc/ssl/private/orthanc.key": f"{folder}/key.pem",
            "http://127.0.0.1:8042/": f"{orthanc.url}/",
        },
    )
    make_certificate(folder)
    with nginx(folder, server):
        yield f"https://127.0.0.1:{port}"


def documented_server(document: str, replaced: Mapping[str, str]) -> str:
    """The one server block of a document, with something here in place of each thing it shows."""
    text = (CHECKOUT / "docs" / document).read_text()
    [server] = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    for shown, here in replaced.items():
        assert shown in server
        server = server.replace(shown, here)
    return str(server)


@contextmanager
def nginx(folder: Path, server: str) -> Iterator[None]:
    """Run it with one server block; one process, so that nothing outlives it."""
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\n"
        f"error_log {folder}/nginx.log;\nevents {{}}\nhttp {{\naccess_log off;\n"
        f"include /etc/nginx/mime.types;\n{places}{server}}}\n"
    )
    process = subprocess.Popen(
        [*ENDS_WITH_US, "/usr/sbin/nginx", "-p", str(folder), "-c", "nginx.conf"]
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(patience_s(10))


def make_certificate(folder: Path) -> None:
    """Leave certificate.pem, which nobody else signed, and its key.pem in a folder."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    places = ["-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*command.split(), *places], cwd=folder, check=True, capture_output=True)
