"""How a worker speaks to a broker that is away, or takes nothing for now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from orthanc_liver.cluster import answers
from orthanc_liver.cluster.answers import Answers, Whose, failed
from orthanc_liver.engine.protocol import Progress

WHOSE = Whose("north", "a key", "a task")
WORD, END = Progress("1234", "infer", 0.5), failed("1234", "why")


class Broker:
    """Takes what is published, or does as the test says; sizes of what came, the last last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.does: list[Callable[[], None]] = []
        self.came: list[int] = []
        self.connection = Mock()
        monkeypatch.setattr(answers, "Producer", lambda _: Mock(publish=self._take))
        monkeypatch.setattr(answers, "_AGAIN_S", 0.0)
        app = Mock()
        app.connection_for_write.return_value = self.connection
        self.answers = Answers(app, "1@gpu")
        self._heed = app.connection_for_write.call_args.kwargs["transport_options"]

    def _take(self, body: bytes, **_: Any) -> None:
        if self.does:
            self.does.pop(0)()
        self.came.append(len(body))

    def refuse(self) -> None:
        """An alarm begins."""
        self._heed["on_blocked"]("low on disk")
        raise TimeoutError

    def end_alarm(self, **_: Any) -> None:
        self._heed["on_unblocked"]()

    def lose(self) -> None:
        raise TimeoutError

    @property
    def connections(self) -> int:
        return int(self.connection.connect.call_count)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def test_in_an_alarm_one_connection_waits_for_its_end(broker: Broker) -> None:
    broker.does = [broker.refuse]
    broker.connection.drain_events.side_effect = TimeoutError
    for _ in range(4):
        broker.answers.mention(WHOSE, WORD)
    assert (broker.connections, broker.came) == (1, [])
    broker.connection.drain_events.side_effect = broker.end_alarm
    broker.answers.deliver(WHOSE, [END])
    # The former one may yet confirm the word, which is not the answer.
    assert (broker.connections, len(broker.came)) == (2, 1)


def test_a_connection_that_is_lost_without_a_word_is_made_anew(broker: Broker) -> None:
    broker.does = [broker.lose, broker.lose]
    for _ in range(3):
        broker.answers.mention(WHOSE, WORD)
    assert (broker.connections, len(broker.came)) == (3, 1)


def test_a_large_answer_is_not_sent_into_an_alarm_again_and_again(broker: Broker) -> None:
    broker.answers.mention(WHOSE, WORD)
    broker.does = [broker.lose, broker.refuse]
    broker.connection.drain_events.side_effect = broker.end_alarm
    broker.answers.deliver(WHOSE, [END])
    word, end = broker.came
    assert word < end
    assert broker.connection.drain_events.call_count == 1
