"""An Orthanc's REST API over HTTP, as a command asks it."""

from __future__ import annotations

import argparse
import base64
import os
import urllib.request


class Rest:
    """user: name:password, or ""."""

    def __init__(self, url: str, user: str) -> None:
        self._url = url.rstrip("/")
        coded = base64.b64encode(user.encode()).decode()
        self._headers = {"Authorization": f"Basic {coded}"} if user else {}

    def get(self, path: str, timeout_s: float) -> bytes:
        """What is at a path; ValueError where the address is none of HTTP, OSError where nothing
        answers, or not with it."""
        if not self._url.startswith(("http://", "https://")):
            raise ValueError("no http address")
        request = urllib.request.Request(self._url + path, headers=self._headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 # nosec
            return bytes(answer.read())


def add_user(parser: argparse.ArgumentParser) -> None:
    """Add --user, for user_and_password."""
    parser.add_argument(
        "--user",
        default="",
        metavar="NAME",
        help="a user that Orthanc knows; the password is taken from ORTHANC_PASSWORD",
    )


def user_and_password(name: str) -> str:
    """As Rest takes them; the password is in the environment, where no list of processes shows
    it."""
    return f"{name}:{os.environ.get('ORTHANC_PASSWORD', '')}" if name else ""
