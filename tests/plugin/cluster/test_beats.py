"""Who is at a case says so, however silent the inference process is."""

from __future__ import annotations

import threading

import pytest

from orthanc_liver.cluster import beats
from orthanc_liver.cluster.beats import Beats
from orthanc_liver.engine.protocol import Progress
from tests.support.patience import wait_for

READ, INFER = Progress("1234", "read", 0.0), Progress("1234", "infer", 0.5)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "_NEWS_EVERY_S", 0.01)
    monkeypatch.setattr(beats, "_BEAT_EVERY_S", 0.02)


def test_the_last_word_is_said_again_and_again_and_not_after_the_end() -> None:
    said: list[Progress] = []
    with Beats(said.append, READ) as ours:
        assert said[0] == READ
        wait_for("it again", lambda: said.count(READ) > 2)
        ours.note(INFER)
        wait_for("what is new", lambda: said.count(INFER) > 2)
    assert not [one for one in threading.enumerate() if one.name == "beats"]
    assert said[-1] == INFER


def test_a_case_does_not_wait_while_the_broker_is_slow() -> None:
    is_slow = threading.Event()

    def say(word: Progress) -> None:
        if word == INFER:
            is_slow.wait()

    with Beats(say, READ) as ours:
        for _ in range(3):
            ours.note(INFER)
        is_slow.set()
