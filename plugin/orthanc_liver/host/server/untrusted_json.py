"""JSON that any client of Orthanc may have written: bodies of calls, metadata of series."""

from __future__ import annotations

import json
from typing import Any

# Python's parser recurses on nested values, and in a thread of Orthanc's HTTP server 600 levels
# end Orthanc with a segmentation fault (seen on 1.10.1; 300 do not).
_MAX_BRACKETS = 200


class TooDeeplyNested(ValueError):
    """Parsing this could end Orthanc."""


def parse_clients_json(text: bytes) -> Any:
    """Return what the JSON says; ValueError for what is not JSON, or not safe to look at."""
    if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        raise TooDeeplyNested("too deeply nested")
    return json.loads(text)
