"""A TCP forwarder on loopback that stops where a client sends certain bytes.

So a test does something exactly then, not when it may be so far.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class _Hold:
    """has_passed: what matches goes on, and it is the answer that is held."""

    pattern: bytes
    has_passed: bool


class Gate:
    """Between any number of clients and one server, which may be away for a while."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._hold: _Hold | None = None
        self._ends: list[socket.socket] = []
        self.is_held = threading.Event()
        self._opened = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, pattern: bytes, *, has_passed: bool = False) -> None:
        """Stop the next connection on which a client sends this."""
        self.is_held.clear()
        self._opened = threading.Event()
        self._hold = _Hold(pattern, has_passed)

    def open(self) -> None:
        """Let all go on, and stop nobody any more."""
        self._hold = None
        self._opened.set()

    def cut(self) -> None:
        """Lose all connections that there are; who connects anew gets through."""
        ends, self._ends = self._ends, []
        _end(*ends)

    def close(self) -> None:
        """End it; nobody can connect any more."""
        self.open()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._ends += [client, server]
                free = threading.Event()
                free.set()
                self._start(self._forward, client, server, free)
                self._start(self._answer, server, client, free)

    def _start(self, pump: Callable[..., None], *ends: object) -> None:
        threading.Thread(target=pump, args=ends, daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, free: threading.Event) -> None:
        before = b""
        with suppress(OSError):
            while chunk := client.recv(_CHUNK_BYTES):
                hold, opened = self._hold, self._opened
                if hold and hold.pattern in before + chunk:
                    if hold.has_passed:
                        free.clear()
                        server.sendall(chunk)
                    self.is_held.set()
                    opened.wait()
                    free.set()
                if not (hold and hold.has_passed and hold.pattern in before + chunk):
                    server.sendall(chunk)
                before = chunk[1 - len(hold.pattern) :] if hold else b""
        _end(client, server)

    def _answer(self, server: socket.socket, client: socket.socket, free: threading.Event) -> None:
        with suppress(OSError):
            while chunk := server.recv(_CHUNK_BYTES):
                free.wait()
                client.sendall(chunk)
        free.wait()
        _end(client, server)


def _end(*ends: socket.socket) -> None:
    for one in ends:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
