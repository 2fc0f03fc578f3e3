"""The inference process as its owner sees it: frames in, frames out, and it may die any time."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from orthanc_liver.engine.protocol import PipeClosed, read_frame, write_frame
from orthanc_liver.host.errors import EngineGone, EngineUnavailable
from orthanc_liver.host.settings import CHECKOUT

_STDERR_LINES = 40
# Loading torch and the weights from a cold disk takes its time.
_READY_TIMEOUT_S = 300.0
# Between closing its pipes and being gone.
_LAST_BREATH_S = 5.0
# Of what a process says once it has seen a patient's data, only this is safe to repeat: where in
# the code it was and the name of the error, but not its text.
_SAFE_LINE = re.compile(
    r'^(\s*File "[^"]+", line \d+.*|Fatal Python error: [A-Za-z ]+|[\w.]+Error\b)'
)

Frame = tuple[dict[str, Any], bytes]


@dataclass(frozen=True)
class Ready:
    """What the process says of itself when it is up."""

    version: str
    model_name: str
    model_sha256: str
    device: str


class EngineProcess:
    """One child process. `kill` may be called from any thread and unblocks every other call.

    on_end is called, in a thread of its own, when nothing will come from the process any more.
    """

    def __init__(self, command: list[str], on_end: Callable[[], None] = lambda: None) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in Orthanc's terminal is not for the child
            )
        except OSError as error:
            raise EngineUnavailable(f"{command[0]} cannot be started: {error.strerror}") from error
        self._stdin = cast(BinaryIO, self._process.stdin)
        self._stdout = cast(BinaryIO, self._process.stdout)
        self._stderr = cast(BinaryIO, self._process.stderr)
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._said: deque[str] = deque(maxlen=_STDERR_LINES)
        self._on_end = on_end
        self._has_ended = False
        self._has_seen_a_patient = False
        self._talks_rubbish = False
        self._readers = [
            threading.Thread(target=self._read_frames, name="engine-frames", daemon=True),
            threading.Thread(target=self._read_stderr, name="engine-stderr", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs, and may still say something."""
        return not self._has_ended and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def wait_ready(self) -> Ready:
        """Wait until the model is loaded; EngineUnavailable where it will not be."""
        try:
            message, _ = self.receive(_READY_TIMEOUT_S)
            if message["type"] == "failed":
                raise EngineUnavailable(message["reason"])
            model = message["model"]
            return Ready(message["version"], model["name"], model["sha256"], message["device"])
        except KeyError as error:
            self.kill()
            raise EngineUnavailable("the inference process speaks another language") from error
        except TimeoutError as error:
            self.kill()
            raise EngineUnavailable(
                f"the inference process was not ready after {_READY_TIMEOUT_S:.0f} s"
            ) from error
        except EngineGone as error:
            raise EngineUnavailable(str(error)) from error

    def send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        """Send one frame; waits for as long as the process does not read."""
        self._has_seen_a_patient = self._has_seen_a_patient or bool(payload)
        try:
            write_frame(self._stdin, message, payload)
        except (OSError, ValueError) as error:
            raise self._gone() from error

    def receive(self, timeout_s: float | None = None) -> Frame:
        """Wait for one frame; EngineGone where none will come, TimeoutError where none came."""
        try:
            frame = self._frames.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None
        if frame is None:
            raise self._gone()
        return frame

    def kill(self) -> None:
        """End the process now."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and leave nothing of it behind."""
        self.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(timeout=2.0)
        for pipe in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()

    def _read_frames(self) -> None:
        try:
            while True:
                self._frames.put(read_frame(self._stdout))
        except ValueError:
            self._talks_rubbish = True
            self.kill()
        except (PipeClosed, OSError):
            pass
        self._has_ended = True
        self._frames.put(None)
        self._on_end()

    def _read_stderr(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._stderr:
                self._said.append(line.decode(errors="replace").rstrip())

    def _gone(self) -> EngineGone:
        self._frames.put(None)  # for whoever asks next
        if self._talks_rubbish:
            return EngineGone("the inference process sent something that is not a frame")
        try:
            code = self._process.wait(timeout=_LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self._readers[1].join(timeout=1.0)
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
        said = " | ".join(self._last_words())
        return EngineGone(f"the inference process {how}" + (f": {said}" if said else ""))

    def _last_words(self) -> list[str]:
        lines = [line for line in self._said if line.strip()]
        if not self._has_seen_a_patient:
            return lines[-3:]
        safe = [found.group().strip() for line in lines if (found := _SAFE_LINE.match(line))]
        return safe[-3:]


def _environment() -> dict[str, str]:
    # Orthanc's own Python is another one than the child's, and so are its search paths.
    ours = {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "plugin"), str(CHECKOUT / "model")])}
    inherited: Mapping[str, str] = os.environ
    return {k: v for k, v in inherited.items() if k != "PYTHONHOME"} | ours


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
