"""One line in Orthanc's log for each thing that an operator counts; identifiers only."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from orthanc_liver.host.errors import HostError
from orthanc_liver.host.server.api import Orthanc


class Journal:
    """Writes words for people, or JSON where the setting LogFormat says so."""

    def __init__(self, orthanc: Orthanc, log_format: str) -> None:
        self._orthanc = orthanc
        self._as_json = log_format == "json"

    def write(self, event: str, facts: Mapping[str, Any]) -> None:
        """Say what happened; nothing is said, and nothing raised, once Orthanc is stopping."""
        if self._as_json:
            line = json.dumps({"Event": event, **facts})
        else:
            line = f"{event}: " + " ".join(f"{name}={_word(one)}" for name, one in facts.items())
        with contextlib.suppress(HostError):
            self._orthanc.log(line)


def _word(value: Any) -> str:
    """Whatever the value holds, it can neither end the line nor look like another fact."""
    text = "-" if value is None else str(value)
    return text if re.fullmatch(r"[\w.:/-]+", text, re.ASCII) else json.dumps(text)
