"""A child process as its owner sees it: messages in, messages out, and it may die any time."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import IO, Protocol, cast

from orthanc_liver.engine.protocol import (
    MAX_ANSWER_BYTES,
    AboutAJob,
    Allowance,
    AnyOrder,
    Connect,
    Failed,
    Message,
    Order,
    PipeClosed,
    ProtocolError,
    Ready,
    read,
    write,
)
from orthanc_liver.host.errors import EngineGone, EngineUnavailable
from orthanc_liver.host.installation import search_path
from orthanc_liver.host.jobs.child_pipe import Alarm, ChildPipe

# Of what a process says on standard error, the end is kept.
_STDERR_BYTES = 16 * 1024
_LINE_CHARACTERS = 300
# Loading torch and the weights from a cold disk takes its time.
_READY_TIMEOUT_S = 300.0
# Between closing its pipes and being gone.
_LAST_BREATH_S = 5.0
# So that torch's threads sleep while one waits for another: by themselves they spin, on cores that
# Orthanc could use (DECISIONS.md, D-208).
QUIET = {"OMP_WAIT_POLICY": "passive"}
# Of what a process says once it has seen a patient's data, only this is safe to repeat: where in
# the code it was and the name of the error, but not its text.
_SAFE_LINE = re.compile(
    r'^(\s*File "[^"]+", line \d+.*|Fatal Python error: [A-Za-z ]+|[\w.]+Error\b)'
)


class EngineProcess:
    """One child process. `kill` may be called from any thread and unblocks every other call.

    on_end is called, in a thread of its own, when nothing will come from the process any more.
    """

    def __init__(self, command: list[str], on_end: Callable[[], None] = lambda: None) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",  # Orthanc's own may be on a disk that somebody wants to take away
                env=_environment(),
                start_new_session=True,  # Ctrl-C in Orthanc's terminal is not for the child
            )
        except OSError as error:
            raise EngineUnavailable(f"{command[0]} cannot be started: {error.strerror}") from error
        self._alarm = Alarm()
        ends = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._stdin, self._stdout, self._stderr = (
            ChildPipe(cast(IO[bytes], end), self._alarm) for end in ends
        )
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._said = b""
        self._on_end = on_end
        self._lock = threading.Lock()
        self._is_over = self._is_closed = False
        self._exited = threading.Event()
        self._has_seen_a_patient = False
        self._rubbish = ""
        self._job = ""
        self._allowance = Allowance(MAX_ANSWER_BYTES)
        self._readers = [_thread(self._read_messages), _thread(self._read_stderr)]
        self._threads = [*self._readers, _thread(self._await_exit)]

    @property
    def alive(self) -> bool:
        """Whether the process runs, and may still say something."""
        return not self._is_over and not self._exited.is_set()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def wait_ready(self) -> Ready:
        """Wait until the model is loaded; EngineUnavailable where it will not be."""
        try:
            message = self._next(_READY_TIMEOUT_S)
        except TimeoutError as error:
            self.kill()
            raise EngineUnavailable(
                f"the inference process was not ready after {_READY_TIMEOUT_S:.0f} s"
            ) from error
        except EngineGone as error:
            raise EngineUnavailable(str(error)) from error
        if isinstance(message, Failed):
            raise EngineUnavailable(message.reason)
        if not isinstance(message, Ready):
            self.kill()
            raise EngineUnavailable("the inference process is of another version: install again")
        return message

    def send(self, message: Message) -> None:
        """Send one message; waits for as long as the process does not read."""
        if isinstance(message, AnyOrder):
            self._job, self._allowance.left_bytes = message.job, MAX_ANSWER_BYTES
        is_empty_handed = isinstance(message, Order | Connect)
        self._has_seen_a_patient = self._has_seen_a_patient or not is_empty_handed
        try:
            write(self._stdin, message)
        except OSError as error:
            raise self._gone() from error

    def receive(self, timeout_s: float | None = None) -> AboutAJob:
        """Wait for one message about the job of the last order; EngineGone where none will come,
        TimeoutError where none came."""
        message = self._next(timeout_s)
        if not isinstance(message, AboutAJob) or message.job != self._job:
            self._rubbish = "a message of another job"
            self.kill()
            raise self._gone()
        return message

    def hear(self) -> Message:
        """Wait for any message, of whatever job; EngineGone where none will come."""
        message = self._next(None)
        self._allowance.left_bytes = MAX_ANSWER_BYTES
        return message

    def leave(self) -> None:
        """End it: it can finish nothing without us."""
        self.close()

    def kill(self) -> None:
        """End the process and all that it started, and free whoever waits for it."""
        with self._lock:
            self._is_over = True
            self._kill_group()
            if not self._is_closed:
                self._alarm.ring()
        self._messages.put(None)

    def close(self) -> None:
        """End the process and leave nothing of it behind."""
        self.kill()
        for thread in self._threads:
            thread.join(timeout=_LAST_BREATH_S)
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._alarm.close()
        for end in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                cast(IO[bytes], end).close()

    def _next(self, timeout_s: float | None) -> Message:
        try:
            message = self._messages.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None
        if message is None:
            raise self._gone()
        return message

    def _read_messages(self) -> None:
        try:
            while True:
                self._messages.put(read(self._stdout, self._allowance))
        except (PipeClosed, OSError):
            pass
        except Exception as error:  # noqa: BLE001 whatever it was, the child sent it
            told = isinstance(error, ProtocolError)
            self._rubbish = str(error) if told else f"what ends in {type(error).__name__}"
            self.kill()
        finally:
            self._is_over = True
            self._messages.put(None)
            self._on_end()

    def _read_stderr(self) -> None:
        with contextlib.suppress(OSError):
            while part := self._stderr.read(_STDERR_BYTES):
                self._said = (self._said + part)[-_STDERR_BYTES:]

    def _await_exit(self) -> None:
        """When the process ends, so does what it started, and soon whoever waits for its words."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._kill_group()
            self._process.wait()
        self._exited.set()
        for reader in self._readers:
            reader.join(_LAST_BREATH_S)
        self.kill()

    def _kill_group(self) -> None:
        # Once the process has been waited for, its number may be another's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _gone(self) -> EngineGone:
        self._messages.put(None)  # for whoever asks next
        if self._rubbish:
            return EngineGone(f"the inference process sent {self._rubbish}")
        if not self._exited.wait(_LAST_BREATH_S):
            self.kill()
            self._exited.wait(_LAST_BREATH_S)
        self._readers[1].join(timeout=1.0)
        said = " | ".join(self._last_words())
        return EngineGone(f"the inference process {self._how()}" + (f": {said}" if said else ""))

    def _how(self) -> str:
        code = self._process.returncode
        if code is None:
            return "does not end"
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"

    def _last_words(self) -> list[str]:
        said = self._said
        lines = said.decode(errors="replace").splitlines()
        if len(said) == _STDERR_BYTES:
            del lines[0]  # its beginning is lost
        lines = [line[:_LINE_CHARACTERS] for line in lines if line.strip()]
        if not self._has_seen_a_patient:
            return lines[-3:]
        safe = [found.group().strip() for line in lines if (found := _SAFE_LINE.match(line))]
        return safe[-3:]


class Killable(Protocol):
    """What a deadline ends."""

    def kill(self) -> None:
        """May be called from any thread."""
        ...


class Deadline:
    """Kills a process that takes too long, which unblocks whoever waits for it."""

    def __init__(self, limit_s: float, engine: Killable) -> None:
        self.passed = False
        self._engine = engine
        self._timer = threading.Timer(limit_s, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """The process was in time."""
        self._timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        self._engine.kill()


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name=f"engine{work.__name__}", daemon=True)
    thread.start()
    return thread


def _environment() -> dict[str, str]:
    # Orthanc's own Python is another one than the child's, and so are its search paths.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    path = os.pathsep.join(search_path())
    return QUIET | kept | ({"PYTHONPATH": path} if path else {})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
