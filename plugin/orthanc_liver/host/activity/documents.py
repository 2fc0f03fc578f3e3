"""Further objects of a segmentation that is in Orthanc already, written by a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from orthanc_liver.engine.protocol import (
    DocumentOrder,
    Done,
    Instance,
    Kind,
    PartsOrder,
    ResultObject,
)
from orthanc_liver.host.errors import (
    EngineGone,
    EngineUnavailable,
    NothingStored,
    StoredElsewhere,
)
from orthanc_liver.host.jobs.job import Job
from orthanc_liver.host.jobs.one_order import process_for_one_order
from orthanc_liver.host.jobs.storing import store_beside
from orthanc_liver.host.server.api import Orthanc, OrthancError, Series
from orthanc_liver.host.server.few_at_once import Gate
from orthanc_liver.host.settings import Settings
from orthanc_liver.sirt.activity import Activity

_TIMEOUT_S = 300.0
# Each holds a CT in memory, for some seconds.
_gate = Gate(2, "other documents are being stored; nothing was stored: ask again in a minute")


@dataclass(frozen=True)
class Documents:
    """Which objects of which finished job."""

    job: Job
    kinds: tuple[Kind, ...]
    activity: Activity


def store_documents(
    orthanc: Orthanc, series: Series, settings: Settings, wanted: Documents
) -> list[dict[str, Any]]:
    """Write and store; return what store_beside does. Doing it twice stores nothing twice.

    Raises NothingStored where they could not be written or stored, Busy where others wait.
    """
    try:
        order = _order(orthanc, series, settings, wanted)
        objects, done = written_documents(orthanc, series, settings, order)
        if done.reason:
            raise NothingStored(f"nothing was stored: {done.reason}")
        return store_beside(orthanc, series, objects)
    except (StoredElsewhere, OrthancError) as error:
        raise NothingStored(f"nothing was stored: {error}") from error


def written_documents(
    orthanc: Orthanc, series: Series, settings: Settings, order: DocumentOrder | PartsOrder
) -> tuple[list[tuple[str, bytes]], Done]:
    """What a process of its own writes at such an order, and how it ended.

    Raises NothingStored where the process fails, Busy where others wait.
    """
    objects: list[tuple[str, bytes]] = []
    try:
        with _gate, process_for_one_order(settings.writer_command, _TIMEOUT_S) as writer:
            writer.send(order)
            for instance in series.instances:
                writer.send(Instance(order.job, orthanc.dicom_file(instance)))
            while not isinstance(message := writer.receive(), Done):
                if isinstance(message, ResultObject):
                    objects.append((message.kind, message.content))
    except (EngineGone, EngineUnavailable, OrthancError) as error:
        raise NothingStored(f"nothing was stored: {error}") from error
    return objects, message


def made_by(job: Job) -> tuple[str, str, str]:
    """The software's version, and name and SHA-256 of the model."""
    model, report = job.model or {}, job.report or {}
    return report.get("software_version", ""), model.get("Name", ""), model.get("Sha256", "")


def _order(
    orthanc: Orthanc, series: Series, settings: Settings, wanted: Documents
) -> DocumentOrder:
    report = wanted.job.report or {}
    return DocumentOrder(
        wanted.job.id,
        len(series.instances),
        replace(settings.for_engine(), kinds=wanted.kinds),
        *made_by(wanted.job),
        grade=wanted.job.grade or "",
        warnings=tuple(report.get("warnings", ())),
        look_at=tuple(tuple(one["slices"]) for one in report.get("look_at", ())),
        activity=wanted.activity.as_json(),
        sheet=wanted.activity.as_text(),
        rtstruct=orthanc.dicom_file(wanted.job.rtstruct),
    )
