"""SEG and SR of a segmentation that is in Orthanc already, written by a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_liver.host.errors import (
    EngineGone,
    EngineUnavailable,
    NothingStored,
    StoredElsewhere,
)
from orthanc_liver.host.jobs.engine_process import EngineProcess
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.storing import store_beside
from orthanc_liver.host.server.api import Orthanc, OrthancError, Series
from orthanc_liver.host.settings import Settings

_TIMEOUT_S = 300.0
# One at a time: each holds a CT in memory.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Documents:
    """Which objects of which finished job; activity: as Activity.as_json tells it, or None."""

    job: Job
    kinds: Sequence[str]
    activity: dict[str, Any] | None


def store_documents(
    orthanc: Orthanc, series: Series, settings: Settings, wanted: Documents
) -> list[dict[str, str]]:
    """Write and store; return what store_beside does. Doing it twice stores nothing twice.

    Raises NothingStored where they could not be written or stored.
    """
    try:
        with _one_at_a_time:
            objects = _written(orthanc, series, settings, wanted)
        return store_beside(orthanc, series, objects)
    except (EngineGone, EngineUnavailable, StoredElsewhere, OrthancError) as error:
        raise NothingStored(f"nothing was stored: {error}") from error


def _written(
    orthanc: Orthanc, series: Series, settings: Settings, wanted: Documents
) -> list[tuple[str, bytes]]:
    writer = EngineProcess(settings.writer_command)
    # Whatever hangs, the process' end unblocks it.
    deadline = threading.Timer(_TIMEOUT_S, writer.kill)
    deadline.daemon = True
    deadline.start()
    try:
        writer.send(_order(series, settings, wanted), _rtstruct(orthanc, wanted.job))
        for instance in series.instances:
            writer.send({"type": "instance"}, orthanc.dicom_file(instance))
        objects = []
        while (frame := writer.receive())[0]["type"] == "object":
            objects.append((str(frame[0]["name"]), frame[1]))
    finally:
        deadline.cancel()
        writer.close()
    if frame[0]["reason"]:
        raise NothingStored(f"nothing was stored: {frame[0]['reason']}")
    return objects


def _order(series: Series, settings: Settings, wanted: Documents) -> dict[str, Any]:
    model, report = wanted.job.model or {}, wanted.job.report or {}
    return {
        "type": "objects",
        "kinds": list(wanted.kinds),
        "instances": len(series.instances),
        "settings": settings.for_engine(),
        "provenance": {
            "software_version": report.get("software_version", ""),
            "model_name": model.get("Name", ""),
            "model_sha256": model.get("Sha256", ""),
        },
        "activity": wanted.activity,
    }


def _rtstruct(orthanc: Orthanc, job: Job) -> bytes:
    return orthanc.dicom_file((job.result or {})["Instance"])
