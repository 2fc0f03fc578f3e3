"""A thread's life, with an Orthanc on paper."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from orthanc_liver.host.server import background
from orthanc_liver.host.server.api import OrthancError, ServerStopping
from orthanc_liver.host.server.background import Background
from tests.plugin.host.paper import Paper

_TIMEOUT_S = 60.0
Turn = float | None | Exception


class Work:
    """Every turn goes as the test says: it waits for that."""

    def __init__(self) -> None:
        self.turns: queue.Queue[Turn] = queue.Queue()
        self.begun: queue.Queue[str] = queue.Queue()

    def __call__(self) -> float | None:
        self.begun.put("a turn")
        turn = self.turns.get(timeout=_TIMEOUT_S)
        if isinstance(turn, Exception):
            raise turn
        return turn

    def turn(self, how: Turn) -> None:
        self.begun.get(timeout=_TIMEOUT_S)
        self.turns.put(how)


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def thread(paper: Paper, work: Work, monkeypatch: pytest.MonkeyPatch) -> Iterator[Background]:
    monkeypatch.setattr(background, "growing_wait_s", lambda faults: 0.0)
    monkeypatch.setattr(background, "_ORTHANC_RESTS_S", 0.0)
    one = Background("worker", paper, work, lambda: work.turns.put(0.0))  # type: ignore[arg-type]
    yield one
    one.stop(_TIMEOUT_S)


def joined(thread: Background) -> str:
    thread._thread.join(_TIMEOUT_S)
    return thread.state


def test_it_waits_until_woken_and_ends_when_stopped(thread: Background, work: Work) -> None:
    assert thread.state == "not started"
    thread.start()
    work.turn(10 * _TIMEOUT_S)
    thread.wake()
    work.turn(0.0)
    work.begun.get(timeout=_TIMEOUT_S)
    assert thread.state == "running"
    thread.stop(_TIMEOUT_S)  # unblocks the third turn
    assert (thread.stopping, thread.state) == (True, "ended")


@pytest.mark.parametrize("end", [None, ServerStopping("")])
def test_work_may_end_it(thread: Background, work: Work, paper: Paper, end: Turn) -> None:
    thread.start()
    work.turn(end)
    assert joined(thread) == "ended"
    assert paper.said == []


def test_a_fault_is_told_once_without_its_text_and_the_thread_goes_on(
    thread: Background, work: Work, paper: Paper
) -> None:
    thread.start()
    for _ in range(3):
        work.turn(KeyError("Secret"))
    work.turn(0.0)
    work.turn(KeyError("Secret"))  # all was well in between
    work.turn(OrthancError("the database is away"))
    work.turn(None)
    assert joined(thread) == "ended"
    fault, again, of_orthanc = paper.said
    assert fault == again
    assert fault.startswith(
        "the worker continues in 0 s, rests after a fault of the plugin: KeyErr"
    )
    assert ".py:" in fault
    assert of_orthanc.endswith("rests after an error of Orthanc: the database is away")
    assert "Secret" not in "".join(paper.said)


def test_it_tells_that_it_rests_and_may_be_stopped_meanwhile(
    thread: Background, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = threading.Event()

    def rest_s(faults: int) -> float:
        rests.set()
        return 10 * _TIMEOUT_S

    monkeypatch.setattr(background, "growing_wait_s", rest_s)
    thread.start()
    work.turn(ValueError())
    assert rests.wait(_TIMEOUT_S)
    thread.wake()  # what is at fault is not tried the more often for it
    with pytest.raises(queue.Empty):
        work.begun.get(timeout=0.3)
    assert thread.state.startswith("rests after a fault of the plugin: ValueError at ")
    thread.stop(_TIMEOUT_S)
    assert joined(thread) == "ended"
