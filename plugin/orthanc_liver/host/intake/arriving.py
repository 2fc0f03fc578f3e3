"""The series that are on their way in: begun, and not complete yet."""

from __future__ import annotations

import threading
from typing import Any

from orthanc_liver.host.server.api import Missing, Orthanc

_MOST = 200


class Arriving:
    """Orthanc tells when a series begins and when nothing has come for StableAge."""

    def __init__(self, orthanc: Orthanc, modality: str) -> None:
        self._orthanc = orthanc
        self._modality = modality
        self._begun: dict[str, None] = {}
        self._lock = threading.Lock()

    def begin(self, series_id: str) -> None:
        """Its first image came. In Orthanc's own thread: only noted."""
        with self._lock:
            self._begun[series_id] = None
            while len(self._begun) > _MOST:
                del self._begun[next(iter(self._begun))]

    def end(self, series_id: str) -> None:
        """It is complete."""
        with self._lock:
            self._begun.pop(series_id, None)

    def show(self) -> list[dict[str, Any]]:
        """Those of the modality that is segmented, oldest first."""
        with self._lock:
            begun = list(self._begun)
        found = []
        for series_id in begun:
            try:
                series = self._orthanc.series(series_id)
            except Missing:
                self.end(series_id)
                continue
            if series.tags.get("Modality") == self._modality:
                found.append({"Series": series_id, "Slices": len(series.instances)})
        return found
