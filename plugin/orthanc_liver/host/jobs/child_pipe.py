"""Our end of a pipe to a child process, at which nobody waits for ever."""

from __future__ import annotations

import contextlib
import os
import select
from typing import IO


class Alarm:
    """Frees whoever waits at a pipe, now and from now on."""

    def __init__(self) -> None:
        self.fd, self._ring = os.pipe()

    def ring(self) -> None:
        """May be called more than once; nobody takes the byte out again."""
        os.write(self._ring, b"!")

    def close(self) -> None:
        """Nobody waits any more."""
        os.close(self.fd)
        os.close(self._ring)


class ChildPipe:
    """One end of a pipe, a source or a sink of messages. OSError where the alarm rings.

    The pipe's own end is not enough: a process that the child started may hold on to it, and
    nothing that is done to the child ends that.
    """

    def __init__(self, end: IO[bytes], alarm: Alarm) -> None:
        self._fd, self._alarm_fd = end.fileno(), alarm.fd
        os.set_blocking(self._fd, False)
        self._waiting = select.poll()
        self._waiting.register(self._fd, select.POLLIN if end.readable() else select.POLLOUT)
        self._waiting.register(self._alarm_fd, select.POLLIN)

    def read(self, length: int, /) -> bytes:
        """Wait for anything up to this length; empty at the end."""
        self._wait()
        return os.read(self._fd, length)

    def write(self, content: bytes, /) -> None:
        """Wait until all of it is in the pipe."""
        left = memoryview(content)
        while left:
            self._wait()
            with contextlib.suppress(BlockingIOError):  # not every kernel calls the same ready
                left = left[os.write(self._fd, left) :]

    def flush(self) -> None:
        """Nothing is held back here."""

    def _wait(self) -> None:
        if any(fd == self._alarm_fd for fd, _ in self._waiting.poll()):
            raise InterruptedError("nobody shall wait here any longer")
