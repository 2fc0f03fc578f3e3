"""What a worker says of a case, as one message of the broker: the engine's own words in a row."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from amqp.exceptions import PreconditionFailed
from celery import Celery
from kombu.messaging import Producer

from orthanc_liver.cluster.broker import BROKER_ERRORS, answer_queue
from orthanc_liver.engine.cluster_case import PROTOCOL
from orthanc_liver.engine.protocol import (
    AboutAJob,
    Done,
    Outcome,
    PipeClosed,
    ProtocolError,
    read,
    write,
)

_log = logging.getLogger(__name__)

# What a worker may be called: it becomes a label of the metrics.
WORKER = r"[A-Za-z0-9_.@-]{1,128}"

_AGAIN_S = 1.0
_MENTIONED_WITHIN_S = 5.0


def failed(job: str, reason: str, *, is_final: bool = False) -> Done:
    """The end of a case that came to nothing."""
    return Done(job, Outcome.FAILED, reason, None, is_final=is_final)


def read_answer(body: bytes) -> list[AboutAJob]:
    """The messages of an answer; ProtocolError where it is none."""
    pipe = BytesIO(body)
    messages: list[AboutAJob] = []
    while pipe.tell() < len(body):
        try:
            message = read(pipe)
        except PipeClosed:
            raise ProtocolError("an answer without its end") from None
        if not isinstance(message, AboutAJob):
            raise ProtocolError("an answer about nothing")
        if any(isinstance(one, Done) for one in messages):
            raise ProtocolError("an answer that goes on after its end")
        messages.append(message)
    if not messages:
        raise ProtocolError("an answer without a word")
    return messages


def ending_of(messages: Sequence[AboutAJob]) -> Done | None:
    """How the case ended, where it has."""
    return next((one for one in messages if isinstance(one, Done)), None)


@dataclass(frozen=True)
class Whose:
    """Who waits for an answer, to which case, and which of Celery's tasks it is of."""

    orthanc: str
    key: str
    task: str


class Answers:
    """A worker's way to the Orthancs that wait; worker: its name, which they count it by."""

    def __init__(self, app: Celery, worker: str) -> None:
        self._worker = worker
        # Between two cases nobody would send heartbeats.
        heed = {"on_blocked": self._blocked, "on_unblocked": self._unblocked}
        self._connection = app.connection_for_write(
            heartbeat=0, transport_options={"confirm_publish": True, **heed}
        )
        self._producer: Producer | None = None
        self._is_refused = False
        self._last: tuple[Whose, AboutAJob] | None = None

    @cached_property
    def _child(self) -> str:
        """Names this process among all that ever compute; asked for in the child alone."""
        return str(uuid.uuid4())

    def deliver(self, whose: Whose, messages: Sequence[AboutAJob], took_s: float = 0.0) -> None:
        """Return once the broker has it; waits for the broker for as long as it is away.

        A broker that takes nothing for now may have it already, unread: it is waited for without
        end, for what is sent again over another connection comes twice.
        """
        while True:
            try:
                self._wait_while_refused(None)
                return self._publish(whose, messages, took_s)
            except PreconditionFailed:
                self._disconnect()
                reason = "the result is larger than the broker's max_message_size: raise that"
                messages = [failed(messages[0].job, reason, is_final=True)]
            except BROKER_ERRORS as error:
                self._disconnect()
                _log.warning("an answer waits for the broker: %s", type(error).__name__)
                time.sleep(_AGAIN_S)
                if self._last:  # to a small word it says that it takes nothing
                    self.mention(*self._last)

    def mention(self, whose: Whose, message: AboutAJob) -> None:
        """Say it if the broker is there; nobody misses it otherwise.

        One that takes nothing keeps each connection that is given up, unread: there is to be one.
        """
        self._last = whose, message
        try:
            self._wait_while_refused(_MENTIONED_WITHIN_S)
            self._publish(whose, [message], 0.0, within_s=_MENTIONED_WITHIN_S)
        except TimeoutError:
            if not self._is_refused:
                self._disconnect()
        except BROKER_ERRORS:
            self._disconnect()

    def _wait_while_refused(self, within_s: float | None) -> None:
        """TimeoutError where that takes longer."""
        if self._is_refused:
            while self._is_refused:
                self._connection.drain_events(timeout=within_s)
            self._disconnect()  # what it has yet to confirm is not to be taken for the next word's

    def _blocked(self, _reason: str) -> None:
        self._is_refused = True

    def _unblocked(self) -> None:
        self._is_refused = False

    def _publish(
        self,
        whose: Whose,
        messages: Sequence[AboutAJob],
        took_s: float,
        *,
        within_s: float | None = None,
    ) -> None:
        body = BytesIO()
        for message in messages:
            write(body, message)
        options: dict[str, Any] = {"confirm_timeout": within_s}
        self._connected().publish(
            body.getvalue(),
            exchange="",
            routing_key=answer_queue(whose.orthanc).name,
            headers={
                "protocol": PROTOCOL,
                "key": whose.key,
                "task": whose.task,
                "worker": self._worker,
                "child": self._child,
                "seconds": took_s,
            },
            content_type="application/octet-stream",
            content_encoding="binary",
            delivery_mode=1 if within_s else 2,
            **options,
        )

    def _connected(self) -> Producer:
        if self._producer is None:
            self._connection.connect()
            self._producer = Producer(self._connection.channel())
        return self._producer

    def _disconnect(self) -> None:
        self._producer, self._is_refused = None, False
        self._connection.collect()
