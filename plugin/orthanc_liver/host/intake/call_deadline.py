"""An end to a call by HTTP, whatever the other side does: Python's time-out is one for each piece
that comes, and a header or a chunk may come in pieces without end."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from typing import Any


class CallDeadline:
    """While it is entered, the connections of its handlers are shut down after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.has_passed = False
        self._open: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> CallDeadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        for one in self._open:
            one.close()

    def connect(self, *how: Any) -> socket.socket:
        """As socket.create_connection."""
        connected = socket.create_connection(*how)
        self._open.append(connected.dup())  # TLS takes the socket itself
        if self.has_passed:
            connected.close()
            raise TimeoutError
        return connected

    def _pass(self) -> None:
        self.has_passed = True
        for one in list(self._open):
            with contextlib.suppress(OSError):  # the other side was faster
                one.shutdown(socket.SHUT_RDWR)


class _Watched(urllib.request.AbstractHTTPHandler):
    def __init__(self, deadline: CallDeadline, **how: Any) -> None:
        super().__init__(**how)
        self._deadline = deadline

    def do_open(self, http_class: Any, req: Any, **how: Any) -> Any:
        """As without a deadline."""

        def connection(*to: Any, **more: Any) -> Any:
            made = http_class(*to, **more)
            made._create_connection = self._deadline.connect
            return made

        return super().do_open(connection, req, **how)


class WatchedHttp(_Watched, urllib.request.HTTPHandler):
    """http under a deadline."""


class WatchedHttps(_Watched, urllib.request.HTTPSHandler):
    """https under a deadline."""
