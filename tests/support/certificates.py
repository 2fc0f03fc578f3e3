"""Throw-away certificates by openssl: an authority, and servers that it signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """One that a test makes; ca_file is what believes it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._signed = 0
        self.ca_file = folder / "ca.pem"
        _openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=an authority of the tests"),
            *("-keyout", folder / "ca.key", "-out", self.ca_file),
        )

    def server(self, names: str) -> tuple[Path, Path]:
        """The certificate and the key of a server; names: as in DNS:localhost,IP:127.0.0.1."""
        self._signed += 1
        certificate, key, asked, extensions = (
            self._folder / f"{self._signed}.{end}" for end in ("pem", "key", "csr", "ext")
        )
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_KEY, "-subj", "/CN=a server", "-keyout", key, "-out", asked)
        _openssl(
            *("x509", "-req", "-in", asked, "-days", "2", "-extfile", extensions),
            *("-CA", self.ca_file, "-CAkey", self._folder / "ca.key", "-CAcreateserial"),
            *("-out", certificate),
        )
        return certificate, key


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
