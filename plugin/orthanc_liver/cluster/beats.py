"""A worker says every few seconds that it is at a case: who says nothing may be lost over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from orthanc_liver.engine.protocol import Progress

_NEWS_EVERY_S = 1.0
# Several in the time that Orthanc waits for a word: dispatcher.py.
_BEAT_EVERY_S = 5.0


class Beats:
    """Says how far a case is, by a thread of its own: the broker may be slow, or take nothing."""

    def __init__(self, say: Callable[[Progress], None], first: Progress) -> None:
        self._say = say
        self._last = first
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, args=(first,), name="beats")

    def __enter__(self) -> Self:
        """Returns once the first word is said, the last of a worker that the case ends."""
        self._say(self._last)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def note(self, progress: Progress) -> None:
        """This is to be said next."""
        self._last = progress

    def _go_on(self, said: Progress) -> None:
        said_s = time.monotonic()
        while not self._is_over.wait(_NEWS_EVERY_S):
            last = self._last
            if last is not said or time.monotonic() - said_s >= _BEAT_EVERY_S:
                self._say(last)
                said, said_s = last, time.monotonic()
