"""A script for Orthanc, a real one or the fake: it calls the module as it is asked to over REST.

Standard library only, for it runs in Orthanc's own Python.
"""

from __future__ import annotations

import json
from typing import Any

HEARD, CALL = "heard", "call"


def register(module: Any) -> None:
    """POST /calls/call {"Function", "Arguments"} makes a call; all else below /calls/ tells how it
    came; what changes were heard is at /calls/heard. Bytes travel as Latin-1."""
    heard: list[list[Any]] = []

    def on_rest(output: Any, uri: str, **raw: Any) -> None:
        path = raw["groups"][0]
        if path == CALL:
            told = _call(module, **json.loads(raw["body"]))
        elif path == HEARD:
            told = heard
        else:
            raw.pop("headers", None)
            told = [uri, {name: _text(value) for name, value in raw.items()}]
        output.AnswerBuffer(json.dumps(told), "application/json")

    def on_change(change: int, level: int, resource: str) -> None:
        if change == module.ChangeType.STABLE_SERIES:
            heard.append([int(level), resource])

    module.RegisterRestCallback("/calls/(.*)", on_rest)
    module.RegisterOnChangeCallback(on_change)


def _call(module: Any, Function: str, Arguments: list[Any]) -> Any:  # noqa: N803 as in the JSON
    arguments = [
        one["Bytes"].encode("latin-1") if isinstance(one, dict) else one for one in Arguments
    ]
    try:
        return {"Answer": _text(getattr(module, Function)(*arguments))}
    except module.OrthancException as error:
        return {"Error": error.args[0], "IsText": isinstance(error.args[-1], str)}


def _text(value: Any) -> Any:
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, bytearray)) else value
