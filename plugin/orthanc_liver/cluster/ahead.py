"""Reading ahead: the next case's files are fetched while the one before computes.

The worker's own process knows the case, its child fetches. What crosses between them is a hint:
where it is lost the child fetches when the case is its turn. Pixels stay in the child's memory.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress

from orthanc_liver.cluster.fetching import Fetch
from orthanc_liver.cluster.orthancs import Address
from orthanc_liver.engine.cluster_case import Case, NoCase, read_case

_log = logging.getLogger(__name__)

# Some 2,000 slices; a longer series is not read ahead.
_LONGEST_BYTES = 192 * 1024


class Ahead:
    """Made before the child is forked off, so that both have it; holds one case at the most."""

    def __init__(self, orthancs: Mapping[str, Address]) -> None:
        self._orthancs = orthancs
        self._told, self._telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._telling.setblocking(False)
        self._telling.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LONGEST_BYTES)
        self._lock = threading.Lock()
        self._next: Fetch | None = None

    def tell(self, text: str) -> None:
        """In the worker's own process: this case is probably the next; empty: none is."""
        hint = text.encode()
        if len(hint) <= _LONGEST_BYTES:
            with suppress(OSError):  # nobody reads: it is a hint
                self._telling.send(hint or b" ")

    def listen(self) -> None:
        """In the child: fetch what is told, from now on."""
        threading.Thread(target=self._listen, name="ahead", daemon=True).start()

    def close(self) -> None:
        """Nobody tells or listens any more."""
        self.fetch("")
        for end in (self._telling, self._told):
            with suppress(OSError):  # the other one told it already
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def files_of(self, case: Case, address: Address) -> Fetch:
        """In the child: what was read ahead of this case, or is fetched from now on."""
        with self._lock:
            ahead = self._next
            if ahead and ahead.key == case.key:
                self._next = None
                if not ahead.has_failed:
                    return ahead
        return Fetch(case, address)

    def forget(self, case: Case) -> None:
        """In the child: it was answered, so nobody will ask for what was read ahead of it."""
        with self._lock:
            ahead = self._next
            if not (ahead and ahead.key == case.key):
                return
            self._next = None
        ahead.close()

    def fetch(self, text: str) -> None:
        """Fetch this case in the place of the one that was told before."""
        case = _case(text)
        address = self._orthancs.get(case.orthanc) if case else None
        with self._lock:
            former = self._next
            self._next = Fetch(case, address) if case and address else None
        if former:
            former.close()
        if case and address:
            _log.info("job %s is read ahead", case.job)

    def _listen(self) -> None:
        with suppress(OSError):
            while hint := self._told.recv(_LONGEST_BYTES):
                self.fetch(hint.decode())


def _case(text: str) -> Case | None:
    try:
        return read_case(text)
    except NoCase:
        return None  # what it is, is said when it is its turn
