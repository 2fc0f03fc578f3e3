"""JSON that any client of Orthanc may have written: bodies of calls, metadata of series."""

from __future__ import annotations

import json
from typing import Any

# Python's parser recurses on nested values, and in a thread of Orthanc's HTTP server 600 levels
# end Orthanc with a segmentation fault (seen on 1.10.1; 300 do not).
_MAX_BRACKETS = 200


class UnsafeJson(ValueError):
    """JSON that is not read; str(error) goes on from what it stands in, "the body" or so."""


def parse_clients_json(text: bytes) -> Any:
    """Return what the JSON says; ValueError for what is not JSON, or not safe to look at."""
    if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        raise UnsafeJson("is too deeply nested")
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnsafeJson("gives a key twice")
    return found
