"""The process that stands where the inference process is otherwise: it has workers compute.

Orthanc's worker threads give it errands on its pipe and hear of them as of orders (protocol.py).
The broker keeps what was published; what was not yet, stays here until the broker is back.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import queue
import re
import select
import sys
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from kombu.message import Message
from kombu.messaging import Consumer, Producer

from liver_unet.model_errors import ModelError
from orthanc_liver import __version__
from orthanc_liver.cluster.answers import WORKER, ending_of, failed, read_answer
from orthanc_liver.cluster.broker import (
    BROKER_ERRORS,
    LOOK,
    TASK,
    Access,
    case_queue,
    declare_answers,
    declare_cases,
    new_app,
    not_serving,
    worker_queue,
)
from orthanc_liver.cluster.model import Model, model_of
from orthanc_liver.engine.case import PROTOCOL, Case, not_the_same, read_case
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.protocol import (
    BrokerState,
    Connect,
    Done,
    DoneBy,
    Errand,
    Failed,
    Outcome,
    PipeClosed,
    ProtocolError,
    Rank,
    Ready,
    Recall,
    read,
    write,
)
from orthanc_liver.liver_errors import LiverError

_LOOK_EVERY_S = 0.05
_AT_ONCE_S = 0.001
_WAITS_S = 1.0
_WAKE_BYTES = 4096
_STATE_EVERY_S = 5.0
_CONNECT_AGAIN_S = 1.0
_CONNECT_WITHIN_S = 5.0
_CONFIRMED_WITHIN_S = 30.0
# Answers that came before Orthanc, started anew, asks for them again; each up to 5 MB.
_HELD = 64
_PREFETCH = 64
# Each becomes a label of the metrics.
_WORKERS_COUNTED = 256


@dataclass
class Asked:
    """An errand of Orthanc's; task: Celery's number, empty as long as the broker has not got it.

    is_shaken: the connection was lost meanwhile, so that two workers may be at it.
    """

    case: Case
    rank: Rank
    task: str = ""
    is_shaken: bool = False


@dataclass(frozen=True)
class Answer:
    """What a worker says of a case; task: Celery's number of what it worked on."""

    task: str
    body: bytes
    protocol: int = PROTOCOL
    worker: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, headers: Mapping[str, Any], body: object) -> Self:
        """Whatever came; what a worker would not send is left out."""
        protocol, worker, seconds = (headers.get(one) for one in ("protocol", "worker", "seconds"))
        is_named = isinstance(worker, str) and re.fullmatch(WORKER, worker)
        took_s = float(seconds) if isinstance(seconds, int | float) else math.nan
        return cls(
            str(headers.get("task", "")),
            body if isinstance(body, bytes) else b"",
            protocol if isinstance(protocol, int) else 0,
            str(worker) if is_named else "",
            took_s if math.isfinite(took_s) and took_s >= 0 else 0.0,
        )


@dataclass
class Tally:
    """What each worker has done for this Orthanc."""

    by_worker: dict[str, DoneBy] = field(default_factory=dict)

    def note(self, answer: Answer) -> None:
        """Count a case; of too many names the newest are left out."""
        name = answer.worker
        if name and (name in self.by_worker or len(self.by_worker) < _WORKERS_COUNTED):
            so_far = self.by_worker.get(name, DoneBy(name, 0, 0.0))
            seconds = round(so_far.seconds + answer.seconds, 3)
            self.by_worker[name] = DoneBy(name, so_far.cases + 1, seconds)


@dataclass
class Errands:
    """What Orthanc waits for, and what came before it asked."""

    by_key: dict[str, Asked] = field(default_factory=dict)
    to_revoke: list[str] = field(default_factory=list)
    held: OrderedDict[str, Answer] = field(default_factory=OrderedDict)

    def add(self, errand: Errand) -> str:
        """Returns the case's key."""
        case = read_case(errand.case.decode())
        self.by_key[case.key] = Asked(case, errand.rank)
        return case.key

    def recall(self, job: str) -> None:
        """Nobody waits for the job any more."""
        for key, asked in list(self.by_key.items()):
            if asked.case.job == job:
                self.end(key)

    def end(self, key: str, task: str = "") -> None:
        """The errand is over; whoever may still be at it is to stop. task: what answered it."""
        asked = self.by_key.pop(key)
        if asked.task and (asked.is_shaken or asked.task != task):
            self.to_revoke.append(asked.task)

    def shake(self) -> None:
        """The connection was lost: the broker hands out again what a worker had."""
        for asked in self.by_key.values():
            asked.is_shaken = True

    def hold(self, key: str, answer: Answer) -> None:
        """Keep an answer that nobody has asked for, or not yet."""
        self.held[key] = answer
        if len(self.held) > _HELD:
            self.held.popitem(last=False)


class Dispatcher:
    """Between one Orthanc's pipe and the broker."""

    def __init__(self, connect: Connect, model: Model, outgoing: BinaryIO) -> None:
        self._access = Access(connect.url, connect.password, connect.ca_file)
        self._orthanc = connect.orthanc
        self._model = model
        self._outgoing = outgoing
        self._app = new_app(self._access)
        self._inbox: queue.SimpleQueue[Errand | Recall] = queue.SimpleQueue()
        self._errands = Errands()
        self._tally = Tally()
        self._told: BrokerState | None = None
        self._woken, self._waking = os.pipe()

    def serve(self, incoming: BinaryIO) -> None:
        """Work until the pipe is closed, which ends the process."""
        threading.Thread(target=self._read, args=(incoming,), name="inbox", daemon=True).start()
        write(self._outgoing, Ready(__version__, self._model.name, self._model.sha256, "workers"))
        while True:
            try:
                self._connected()
            except BROKER_ERRORS as error:
                self._errands.shake()
                self._tell(BrokerState(not_serving(self._access, error), 0, 0, self._done()))
            self._rest()

    def _read(self, incoming: BinaryIO) -> None:
        try:
            while True:
                message = read(incoming)
                if not isinstance(message, Errand | Recall):
                    raise ProtocolError(f"a {type(message).__name__} for the dispatcher")
                self._inbox.put(message)
                os.write(self._waking, b"!")
        except PipeClosed:
            pass  # child_process.py ends this process

    def _rest(self) -> None:
        until_s = time.monotonic() + _CONNECT_AGAIN_S
        while time.monotonic() < until_s:
            self._take_inbox()
            time.sleep(_LOOK_EVERY_S)

    def _connected(self) -> None:
        """Carry messages until the connection is lost."""
        with self._app.connection_for_write(connect_timeout=_CONNECT_WITHIN_S) as connection:
            connection.connect()
            channel = connection.channel()
            cases = declare_cases(channel, self._model.sha256)
            answers = declare_answers(channel, self._orthanc)
            channel.basic_qos(0, _PREFETCH, False)
            consumer = Consumer(
                channel, [answers], on_message=self._hear, accept=["json"], auto_declare=False
            )
            producer = Producer(channel, auto_declare=False)
            look_at_s = 0.0
            with consumer:
                while True:
                    self._take_inbox()
                    if self._publish(producer):
                        self._command(producer, LOOK)
                    self._revoke(producer)
                    if time.monotonic() >= look_at_s:
                        look_at_s = time.monotonic() + _STATE_EVERY_S
                        connection.heartbeat_check()
                        self._tell(self._state(cases))
                    self._wait(connection)

    def _wait(self, connection: Any) -> None:
        """Take what the broker has sent; then until there is more, or an errand."""
        with contextlib.suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=_AT_ONCE_S)
        ready, *_ = select.select([connection.connection.sock, self._woken], [], [], _WAITS_S)
        if self._woken in ready:
            os.read(self._woken, _WAKE_BYTES)

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Recall):
                self._errands.recall(message.job)
                continue
            key = self._errands.add(message)
            if held := self._errands.held.pop(key, None):
                self._pass_on(key, held)

    def _publish(self, producer: Producer) -> bool:
        """Returns whether there was anything."""
        unpublished = [item for item in self._errands.by_key.items() if not item[1].task]
        for key, asked in unpublished:
            task = str(uuid.uuid4())
            self._app.send_task(
                TASK,
                args=(asked.case.as_text(),),
                argsrepr=f"(series {asked.case.series} of {self._orthanc})",
                task_id=task,
                queue=case_queue(self._model.sha256, asked.rank),
                declare=[],
                producer=producer,
                headers={"key": key, "orthanc": self._orthanc},
                ignore_result=True,
                retry=False,
                confirm_timeout=_CONFIRMED_WITHIN_S,
            )
            asked.task = task
        return bool(unpublished)

    def _revoke(self, producer: Producer) -> None:
        if tasks := self._errands.to_revoke:
            self._command(producer, "revoke", task_id=tasks, terminate=True, signal="SIGKILL")
            self._errands.to_revoke = []

    def _command(self, producer: Producer, name: str, **arguments: Any) -> None:
        """Tell all workers. Celery's own way would, where the broker is lost meanwhile, wait for it
        and go on without the queue of answers."""
        exchange = self._app.control.mailbox.exchange
        body = {"method": name, "arguments": arguments, "destination": None}
        producer.publish(
            {**body, "pattern": None, "matcher": None},
            exchange=exchange.name,
            declare=[exchange],
            headers={"clock": self._app.clock.forward(), "expires": 0},
            serializer="json",
            retry=False,
            confirm_timeout=_CONFIRMED_WITHIN_S,
        )

    def _state(self, cases: list[Any]) -> BrokerState:
        waiting = sum(one.queue_declare(passive=True).message_count for one in cases)
        workers = worker_queue(self._model.sha256)(cases[0].channel).queue_declare()
        return BrokerState("", workers.consumer_count, waiting, self._done())

    def _done(self) -> tuple[DoneBy, ...]:
        return tuple(self._tally.by_worker.values())

    def _hear(self, message: Message) -> None:
        headers = message.headers or {}
        key = str(headers.get("key", ""))
        asked = self._errands.by_key.get(key)
        answer = Answer.of(headers, message.body)
        if "x-death" in headers:
            if asked:
                self._end(key, asked.task, _dead(asked.case.job, headers))
        elif asked:
            self._pass_on(key, answer)
        elif _is_worth_holding(answer.body):
            self._errands.hold(key, answer)
        message.ack()

    def _pass_on(self, key: str, answer: Answer) -> None:
        asked = self._errands.by_key[key]
        try:
            if answer.protocol != PROTOCOL:
                raise ProtocolError(not_the_same(orthanc=PROTOCOL, worker=answer.protocol))
            messages = read_answer(answer.body)
            if any(one.job != asked.case.job for one in messages):
                raise ProtocolError("an answer about something else")
        except ProtocolError as error:
            messages = [failed(asked.case.job, f"a worker's answer: {error}")]
        for message in messages:
            if isinstance(message, Done):
                self._tally.note(answer)
                self._end(key, answer.task, message)
            else:
                write(self._outgoing, message)

    def _end(self, key: str, task: str, done: Done) -> None:
        self._errands.end(key, task)
        # It is the worker's own process that ends, not this one.
        write(self._outgoing, replace(done, is_last=False))

    def _tell(self, state: BrokerState) -> None:
        if state != self._told:
            write(self._outgoing, state)
            self._told = state


def _dead(job: str, headers: Mapping[str, Any]) -> Done:
    """What becomes of a case that the broker put aside."""
    if headers.get("x-first-death-reason") == "delivery_limit":
        reason = "every worker that took it ended: it is not tried again automatically"
        return failed(job, reason, is_final=True)
    return failed(job, "a worker could not read what it was to do")


def _is_worth_holding(body: bytes) -> bool:
    """A failure is better found again than believed."""
    try:
        done = ending_of(read_answer(body))
    except ProtocolError:
        return False
    return done is not None and done.outcome not in (Outcome.FAILED, Outcome.CANCELLED)


def main() -> None:
    """Entry of `python -m orthanc_liver.cluster.dispatcher`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    outgoing = begin()
    connect = read(sys.stdin.buffer)
    if not isinstance(connect, Connect):
        raise ProtocolError(f"a {type(connect).__name__} instead of a broker")
    try:
        dispatcher = Dispatcher(connect, model_of(arguments.weights), outgoing)
    except (LiverError, ModelError) as error:
        write(outgoing, Failed(str(error)))
        return
    dispatcher.serve(sys.stdin.buffer)


if __name__ == "__main__":
    main()
