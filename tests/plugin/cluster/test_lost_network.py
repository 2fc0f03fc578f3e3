"""A broker that is there and then says nothing more: nobody waits for it without end."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from amqp.exceptions import ConnectionForced

from orthanc_liver.cluster import broker
from orthanc_liver.cluster.broker import (
    BROKER_ERRORS,
    Access,
    connected,
    new_app,
    refuse_what_never_serves,
)
from tests.support.patience import patience_s, wait_for

PAUSE_S = 1


def method(number: int, arguments: bytes) -> bytes:
    """A frame of AMQP 0-9-1 with a method of a connection."""
    payload = struct.pack(">HH", 10, number) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def long_text(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


START = method(10, b"\x00\x09" + long_text(b"") + long_text(b"PLAIN") + long_text(b"en_US"))
TUNE = method(30, struct.pack(">HIH", 2047, 131072, 60))
OPEN_OK = method(41, b"\x00")


class Swallows:
    """Lets whoever comes connect, and answers nothing else."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        url = f"amqp://north@127.0.0.1:{self._listener.getsockname()[1]}/liver"
        self.access = Access(url, "s3cret")
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._let_in, daemon=True).start()

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                # As a broker does: what came earlier, py-amqp's socket options could not bear.
                client.recv(8)
                client.sendall(START + TUNE + OPEN_OK)
                self._ends.append(client)

    def close(self) -> None:
        for one in (self._listener, *self._ends):
            one.close()


@pytest.fixture
def swallows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Swallows]:
    monkeypatch.setattr(broker, "_PAUSE_S", PAUSE_S)
    monkeypatch.setattr(broker, "_HEARTBEAT_S", PAUSE_S)
    with contextlib.closing(Swallows()) as one:
        yield one


def ends(what: Callable[[], object]) -> None:
    """Whether it ends at all, or waits for what never comes."""
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    thread.join(patience_s(30))
    assert not thread.is_alive()


def test_a_question_that_nobody_answers_and_the_way_out_take_no_longer_than_a_pause(
    swallows: Swallows,
) -> None:
    def ask() -> None:
        with pytest.raises(BROKER_ERRORS), connected(new_app(swallows.access)) as connection:
            connection.channel()

    ends(ask)
    ends(lambda: refuse_what_never_serves(swallows.access, "a" * 64))


def test_a_broker_that_sends_no_heartbeats_is_lost(swallows: Swallows) -> None:
    with connected(new_app(swallows.access)) as connection, pytest.raises(ConnectionForced):
        wait_for("its loss", connection.heartbeat_check)
