"""Work that takes seconds is done one at a time, and only a few wait for their turn."""

from __future__ import annotations

import threading
from types import TracebackType

from orthanc_liver.host.errors import Busy


class Gate:
    """places: how many may be in or wait; each holds one of the threads that answer all of
    Orthanc's HTTP. Whoever comes then is told Busy."""

    def __init__(self, places: int, busy: str) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._one_at_a_time = threading.Lock()
        self._busy = busy

    def __enter__(self) -> None:
        if not self._places.acquire(blocking=False):
            raise Busy(self._busy)
        self._one_at_a_time.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._one_at_a_time.release()
        self._places.release()
