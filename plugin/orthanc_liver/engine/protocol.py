"""The language between Orthanc's worker thread and the inference process: frames on a pipe.

A frame is a JSON object and any bytes: two lengths (4 bytes and 8 bytes, big endian), then both.

To the engine:
  {"type": "job", "id": ..., "instances": N, "settings": {...}}
  {"type": "instance"} + one DICOM file, N times
From the engine:
  {"type": "ready", "version": ..., "model": {"name", "sha256"}, "device": ...}
  {"type": "failed", "reason": ...}        instead of "ready": it cannot work at all
  {"type": "progress", "id": ..., "stage": "...", "fraction": 0..1}
  {"type": "object", "id": ..., "name": "rtstruct"} + bytes; then, as settings ask, "SEG" and "SR"
  {"type": "preview", "id": ...} + PNG bytes
  {"type": "done", "id": ..., "outcome": "segmented" | "no liver found" | "refused" | "failed",
   "reason": ..., "report": {...}}         the last frame of a job
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">IQ")
MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024 * 1024


class PipeClosed(EOFError):
    """The other side is gone, between two frames or within one."""


def write_frame(pipe: BinaryIO, message: dict[str, Any], payload: bytes = b"") -> None:
    """Send one frame at once."""
    text = json.dumps(message).encode()
    pipe.write(_LENGTHS.pack(len(text), len(payload)) + text)
    pipe.write(payload)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Wait for one frame; PipeClosed where none comes, ValueError where it is not one of ours."""
    text_length, payload_length = _LENGTHS.unpack(_read(pipe, _LENGTHS.size))
    if text_length > MAX_JSON_BYTES or payload_length > MAX_BYTES:
        raise ValueError("the other side sent something that is not a frame")
    message = json.loads(_read(pipe, text_length))
    if not isinstance(message, dict) or "type" not in message:
        raise ValueError("the other side sent a frame without a type")
    return message, _read(pipe, payload_length)


def _read(pipe: BinaryIO, length: int) -> bytes:
    parts = []
    while length:
        part = pipe.read(min(length, 1 << 24))
        if not part:
            raise PipeClosed("the pipe was closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
