"""The inference process must not outlive Orthanc, not even for the rest of a job."""

from __future__ import annotations

import os
import select
import threading


def end_with_the_other_side(pipe: int) -> None:
    """End this process at once when nobody holds the writing end of the pipe any more.

    Needed because a process that computes does not read, so it would not notice the end of file.
    Frames that still wait in the pipe are left alone.
    """
    watcher = select.poll()
    watcher.register(pipe, 0)  # a hang-up is always reported

    def watch() -> None:
        watcher.poll()
        os._exit(0)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
