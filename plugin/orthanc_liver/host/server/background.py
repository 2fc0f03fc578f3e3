"""The life of a thread: it works, waits, is woken, is stopped, and outlives what work raises."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from orthanc_liver.host.errors import fault_of_ours
from orthanc_liver.host.server.api import Orthanc, OrthancError, ServerStopping
from orthanc_liver.host.server.waits import growing_wait_s

# To ask Orthanc again costs little.
_ORTHANC_RESTS_S = 10.0


class Background:
    """Calls work again and again in a thread of its own, until stopped or until it returns None.

    work returns for how many seconds to wait before the next turn; `wake` ends that wait. What it
    raises is logged once, and the thread goes on after a rest.
    unblock: lets a turn that waits for something else end; called when stopping.
    """

    def __init__(
        self,
        name: str,
        orthanc: Orthanc,
        work: Callable[[], float | None],
        unblock: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._orthanc = orthanc
        self._work = work
        self._unblock = unblock
        self._thread = threading.Thread(target=self._run, name=f"liver-{name}", daemon=True)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._problem = ""
        self._faults = 0  # since the last turn without one

    def start(self) -> None:
        """Begin with the first turn."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def stop(self, timeout_s: float) -> None:
        """End the thread; harmless where it never began."""
        self._stopping.set()
        self._woken.set()
        self._unblock()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def stopping(self) -> bool:
        """Whether somebody stops it."""
        return self._stopping.is_set()

    @property
    def state(self) -> str:
        """In a few words; "running" where all is well."""
        if self._thread.ident is None:
            return "not started"
        if not self._thread.is_alive():
            return "ended"
        return f"rests after {self._problem}" if self._problem else "running"

    def _run(self) -> None:
        told = ""
        with contextlib.suppress(ServerStopping):
            while not self.stopping:
                try:
                    wait_s = self._work()
                except ServerStopping:
                    raise
                except Exception as error:  # noqa: BLE001 the last resort: the thread lives on
                    told = self._rest(error, told)
                    continue
                if wait_s is None:
                    return
                told, self._faults = "", 0
                self._woken.wait(wait_s)
                self._woken.clear()

    def _rest(self, error: Exception, told: str) -> str:
        if isinstance(error, OrthancError):
            self._problem, rest_s = f"an error of Orthanc: {error}", _ORTHANC_RESTS_S
        else:
            self._problem, rest_s = fault_of_ours(error), growing_wait_s(self._faults)
        if self._problem != told:
            self._orthanc.log_error(f"the {self.name} continues in {rest_s:.0f} s, {self.state}")
        told = self._problem
        self._faults += 1
        self._stopping.wait(rest_s)
        self._problem = ""
        return told
