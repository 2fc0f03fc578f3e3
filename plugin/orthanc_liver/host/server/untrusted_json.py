"""JSON that any client of Orthanc may have written: bodies of calls, metadata of series."""

from __future__ import annotations

import json
import re
from typing import Any

# Python's parser recurses on nested values, and in a thread of Orthanc's HTTP server 600 levels
# end Orthanc with a segmentation fault (seen on 1.10.1; 300 do not).
_MAX_BRACKETS = 200
_PLAIN_TEXT = re.compile(rb'"[^"\\]*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnsafeJson(ValueError):
    """JSON that is not read; str(error) goes on from what it stands in, "the body" or so."""


def parse_clients_json(text: bytes) -> Any:
    """Return what the JSON says; ValueError for what is not JSON, or not safe to look at."""
    if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        raise UnsafeJson("is too deeply nested")
    return json.loads(text, object_pairs_hook=_object)


def parse_shallow_json(text: bytes, most_nested: int) -> Any:
    """The same for a long text of few levels, such as many short lists: Python's parser would end
    Orthanc on one of its threads where thousands of brackets are nested."""
    rest = _PLAIN_TEXT.sub(b"", text)
    if b'"' in rest or b"\\" in rest:
        raise UnsafeJson("holds other texts than plain ones")
    nested = 0
    for bracket in rest.translate(None, _NO_BRACKETS):
        nested += 1 if bracket in b"[{" else -1
        if nested > most_nested:
            raise UnsafeJson("is too deeply nested")
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnsafeJson("gives a key twice")
    return found
