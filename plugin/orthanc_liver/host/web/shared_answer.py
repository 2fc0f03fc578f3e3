"""One rendering for all clients that ask at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SharedAnswer:
    """Nobody gets a rendering that began before he asked, so nothing in it is ever out of date."""

    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render
        self._lock = threading.Lock()
        self._begun_ns = -1
        self._text = ""

    def get(self) -> str:
        """Render, or take what another thread rendered while this one waited."""
        asked_ns = time.monotonic_ns()
        with self._lock:
            if self._begun_ns <= asked_ns:
                begun_ns = time.monotonic_ns()
                self._text = self._render()
                self._begun_ns = begun_ns
            return self._text
