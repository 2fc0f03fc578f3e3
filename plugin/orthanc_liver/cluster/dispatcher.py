"""The process that stands where the inference process is otherwise: it has workers compute.

Orthanc's worker threads give it errands on its pipe and hear of them as of orders (protocol.py).
The broker keeps what was published; what was not yet, stays here until the broker is back.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
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

from amqp.exceptions import MessageNacked
from kombu.messaging import Producer

from liver_unet.model_errors import ModelError
from orthanc_liver import __version__
from orthanc_liver.cluster.answers import WORKER, ending_of, failed, read_answer
from orthanc_liver.cluster.broker import (
    BROKER_ERRORS,
    DELIVERY_LIMIT,
    LOOK,
    TASK,
    Access,
    case_queue,
    connected,
    declare_answers,
    declare_cases,
    is_as_left,
    name_taken,
    new_app,
    not_serving,
    refusing,
    worker_queue,
)
from orthanc_liver.cluster.model import Model, model_of
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.cluster_case import PROTOCOL, Case, not_the_same, read_case
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

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.05
_AT_ONCE_S = 0.001
_WAITS_S = 1.0
_WAKE_BYTES = 4096
_STATE_EVERY_S = 5.0
_CONNECT_AGAIN_S = 1.0
# Answers that came before Orthanc, started anew, asks for them again; each up to 5 MB.
_HELD = 64
_PREFETCH = 64
# As often a case that was put aside goes back, whatever was heard of those that had it.
_AGAIN_TIMES = 10
# A worker that is at a case says so every 5 s (beats.py), and connects anew in as many.
_WORD_WITHIN_S = 30.0
# What lies in no queue and nobody has begun or goes on with was lost, with its queue or from it.
_GONE_AFTER_S = 60.0
# An answer that came so often without being settled ends who reads it.
_ANSWER_TIMES = 10
_LOST = "every worker that had it was lost over it: it is not tried again by itself"
_SAME_ON_BOTH = "install the same orthanc-liver where Orthanc runs and on the workers"
# Each becomes a label of the metrics.
_WORKERS_COUNTED = 256


@dataclass
class Asked:
    """An errand of Orthanc's; task: Celery's number, the same however often it is published.

    is_sent: it was published; is_kept: and the broker has confirmed it. is_shaken: a connection was
    lost meanwhile, so that two workers may be at it. begun_by: workers' children in the order in
    which they began, and whether each was heard of after the next had: then it was not lost, only
    its connection. is_put_aside: nobody has it any more of the broker. judged_at_s: when who was
    not heard of until then counts as lost. is_begun: since it was sent last. is_there_at_s: when
    the broker, or who computes it, had it for certain.
    """

    case: Case
    rank: Rank
    task: str = field(default_factory=lambda: str(uuid.uuid4()))
    is_sent: bool = False
    is_kept: bool = False
    is_shaken: bool = False
    begun_by: dict[str, bool] = field(default_factory=dict)
    times_put_aside: int = 0
    is_put_aside: bool = False
    judged_at_s: float = math.inf
    is_begun: bool = False
    is_there_at_s: float = 0.0

    def note(self, child: str) -> None:
        """A word of who computes it."""
        self.is_begun, self.is_there_at_s = True, time.monotonic()
        if child in self.begun_by:
            self.begun_by[child] |= child != next(reversed(self.begun_by))
        elif child:
            self.begun_by[child] = False

    @property
    def has_ended_workers(self) -> bool:
        """As far as is known; whoever has it now is not among them."""
        return self.unheard > DELIVERY_LIMIT + (not self.is_put_aside)

    @property
    def is_gone(self) -> bool:
        """Though the broker confirmed it. Of a backfill a worker may hold one beside what it
        computes, and whose answer is lost computed for so long at most.
        """
        may_be_held = self.is_begun or self.rank is Rank.BACKFILL
        within_s = _GONE_AFTER_S + self.case.limit_s * may_be_held
        return self.is_kept and time.monotonic() - self.is_there_at_s > within_s

    def wait_for_a_word(self) -> None:
        """Whether workers were lost over it is judged later: who computes says so now and then."""
        self.judged_at_s = min(self.judged_at_s, time.monotonic() + _WORD_WITHIN_S)

    def give_back(self) -> None:
        """It is to be sent again, though somebody may still be at it."""
        self.is_shaken, self.is_sent, self.is_kept = True, False, False

    @property
    def unheard(self) -> int:
        """How many have begun it and, for all that is known, were lost over it, or are at it."""
        return sum(not was_heard for was_heard in self.begun_by.values())


@dataclass(frozen=True)
class Answer:
    """What a worker says of a case; task: Celery's number of what it worked on."""

    task: str
    body: bytes
    protocol: int = PROTOCOL
    worker: str = ""
    seconds: float = 0.0
    child: str = ""

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
            str(headers.get("child", "")),
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
        if asked.is_shaken or (asked.is_sent and asked.task != task):
            self.to_revoke.append(asked.task)

    def shake(self) -> None:
        """The connection was lost: the broker hands out again what a worker had."""
        for asked in self.by_key.values():
            asked.is_shaken, asked.is_sent = True, asked.is_kept
            asked.is_there_at_s = time.monotonic()  # nobody could be heard
            if asked.judged_at_s < math.inf:
                asked.judged_at_s = time.monotonic() + _WORD_WITHIN_S

    def send_again(self) -> None:
        """The broker has lost all that it had."""
        for asked in self.by_key.values():
            asked.is_sent = asked.is_kept = False

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
        self._is_refused = False
        self._sent = 0
        # By number on this connection: a case, or the tasks that a command revokes.
        self._unconfirmed: dict[int, Asked | list[str]] = {}
        self._woken, self._waking = os.pipe()

    def serve(self, incoming: BinaryIO) -> None:
        """Work until the pipe is closed, which ends the process."""
        threading.Thread(target=self._read, args=(incoming,), name="inbox", daemon=True).start()
        write(self._outgoing, Ready(__version__, self._model.name, self._model.sha256, "workers"))
        while True:
            try:
                self._connected()
            except Exception as error:  # noqa: BLE001 what came shall not end all other jobs
                if not isinstance(error, (*BROKER_ERRORS, LiverError)):
                    _log.error("a fault of the dispatcher: %s", type(error).__name__)
                self._shake()
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
        """Carry messages until a connection is lost.

        What is published has its own: where the broker takes nothing for now it does not read that
        one any more, and answers are still to be heard.
        """
        heed: dict[str, Any] = {"on_blocked": self._blocked, "on_unblocked": self._unblocked}
        with connected(self._app) as hearing, connected(self._app, **heed) as sending:
            if not is_as_left(hearing, self._model.sha256, self._orthanc):
                self._errands.send_again()
            channel = hearing.channel()
            cases = declare_cases(channel, self._model.sha256)
            answers = declare_answers(channel, self._orthanc)
            self._app.control.mailbox.exchange(channel).declare()
            channel.auto_decode = False
            channel.basic_qos(0, _PREFETCH, False)
            self._refuse_another(answers, ours=0)
            channel.basic_consume(answers.name, callback=self._hear)
            producer = Producer(self._confirming(sending), auto_declare=False)
            look_at_s = 0.0
            while True:
                self._take_inbox()
                self._judge()
                if self._publish(producer):
                    self._command(producer, LOOK)
                self._revoke(producer)
                if time.monotonic() >= look_at_s:
                    look_at_s = time.monotonic() + _STATE_EVERY_S
                    self._refuse_another(answers, ours=1)
                    self._tell(self._state(cases))
                for one in (hearing, sending):
                    one.heartbeat_check()
                self._wait(hearing, sending)

    def _refuse_another(self, answers: Any, ours: int) -> None:
        """Two of one name would take each other's answers; quorum queues cannot forbid that."""
        if answers.queue_declare(passive=True).consumer_count > ours:
            raise name_taken(self._access, self._orthanc)

    def _wait(self, *connections: Any) -> None:
        """Take what the broker has sent; then until there is more, or an errand."""
        for one in connections:
            with contextlib.suppress(TimeoutError):
                while True:
                    one.drain_events(timeout=_AT_ONCE_S)
        sockets = [one.connection.sock for one in connections]
        ready, *_ = select.select([*sockets, self._woken], [], [], _WAITS_S)
        if self._woken in ready:
            os.read(self._woken, _WAKE_BYTES)

    def _confirming(self, connection: Any) -> Any:
        channel = connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._confirm)
        channel.events["basic_nack"].add(_nacked)
        self._sent, self._unconfirmed = 0, {}
        return channel

    def _await_confirmation(self, of: Asked | list[str]) -> None:
        """The broker has not said yet that it has what was sent last."""
        self._sent += 1
        self._unconfirmed[self._sent] = of

    def _confirm(self, number: int, multiple: bool) -> None:
        for one in [n for n in self._unconfirmed if n == number or (multiple and n < number)]:
            of = self._unconfirmed.pop(one)
            if isinstance(of, Asked):
                of.is_kept = True

    def _shake(self) -> None:
        """What was not confirmed is said again."""
        for of in self._unconfirmed.values():
            if isinstance(of, list):
                self._errands.to_revoke += of
        self._unconfirmed, self._is_refused = {}, False
        self._errands.shake()

    def _blocked(self, _reason: str) -> None:
        self._is_refused = True

    def _unblocked(self) -> None:
        self._is_refused = False

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Recall):
                self._errands.recall(message.job)
                continue
            try:
                key = self._errands.add(message)
            except ValueError as error:
                reason = f"no worker can be asked: {error}"
                write(self._outgoing, failed(message.job, reason, is_final=True))
                continue
            if held := self._errands.held.pop(key, None):
                self._pass_on(key, held)

    def _publish(self, producer: Producer) -> bool:
        """Returns whether there was anything."""
        waiting = [item for item in self._errands.by_key.items() if not item[1].is_sent]
        before = self._sent
        for key, asked in waiting:
            if self._is_refused:
                break
            self._app.send_task(
                TASK,
                args=(asked.case.as_text(),),
                argsrepr=f"(series {asked.case.series} of {self._orthanc})",
                task_id=asked.task,
                queue=case_queue(self._model.sha256, asked.rank),
                declare=[],
                producer=producer,
                headers={"key": key, "orthanc": self._orthanc},
                ignore_result=True,
                retry=False,
            )
            asked.is_sent, asked.is_put_aside, asked.is_begun = True, False, False
            asked.is_there_at_s = time.monotonic()
            self._await_confirmation(asked)
        return self._sent > before

    def _revoke(self, producer: Producer) -> None:
        if self._errands.to_revoke and not self._is_refused:
            tasks, self._errands.to_revoke = self._errands.to_revoke, []
            try:
                self._command(producer, "revoke", task_id=tasks, terminate=True, signal="SIGKILL")
            except BROKER_ERRORS:
                self._errands.to_revoke += tasks
                raise

    def _command(self, producer: Producer, name: str, **arguments: Any) -> None:
        """Tell all workers. Celery's own way would, where the broker is lost meanwhile, wait for it
        and go on without the queue of answers."""
        body = {"method": name, "arguments": arguments, "destination": None}
        producer.publish(
            {**body, "pattern": None, "matcher": None},
            exchange=self._app.control.mailbox.exchange.name,
            headers={"clock": self._app.clock.forward(), "expires": 0},
            serializer="json",
            retry=False,
        )
        self._await_confirmation(arguments.get("task_id", []))

    def _state(self, cases: list[Any]) -> BrokerState:
        waiting = [one.queue_declare(passive=True).message_count for one in cases]
        self._look_for_what_is_gone(dict(zip(Rank, waiting, strict=True)))
        workers = worker_queue(self._model.sha256)(cases[0].channel).queue_declare()
        problem = refusing(self._access) if self._is_refused else ""
        return BrokerState(problem, workers.consumer_count, sum(waiting), self._done())

    def _look_for_what_is_gone(self, waiting: Mapping[Rank, int]) -> None:
        """Somebody may have emptied or deleted a queue, which others have made anew."""
        for asked in self._errands.by_key.values():
            if waiting[asked.rank] or self._is_refused:
                asked.is_there_at_s = time.monotonic()
            elif asked.is_gone:
                _log.warning("job %s is sent again: the broker has lost it", asked.case.job)
                asked.give_back()

    def _done(self) -> tuple[DoneBy, ...]:
        return tuple(self._tally.by_worker.values())

    def _hear(self, message: Any) -> None:
        """Take what the broker brings as it is, and see that it does not come again."""
        try:
            self._take(message.headers or {}, message.body)
        except OSError:  # Orthanc's pipe
            raise
        except Exception as error:  # noqa: BLE001 whatever somebody sent
            _log.error("an answer was put aside: %s", type(error).__name__)
        message.channel.basic_ack(message.delivery_tag)

    def _take(self, headers: Mapping[str, Any], body: object) -> None:
        key = str(headers.get("key", ""))
        asked = self._errands.by_key.get(key)
        answer = Answer.of(headers, body)
        if "x-death" in headers:
            # What an Orthanc before this one had sent is another task.
            if asked and headers.get("id") == asked.task:
                self._take_back(key, asked, headers)
        elif _times(headers) > _ANSWER_TIMES:
            if asked:
                reason = f"the worker's answer cannot be read: {_SAME_ON_BOTH}"
                self._end(key, asked.task, failed(asked.case.job, reason))
        elif asked:
            asked.note(answer.child)
            if asked.has_ended_workers:
                asked.wait_for_a_word()
            self._pass_on(key, answer)
        elif _is_worth_holding(answer.body):
            self._errands.hold(key, answer)

    def _take_back(self, key: str, asked: Asked, headers: Mapping[str, Any]) -> None:
        """The broker has put the case aside: it ends workers, or their connections were lost."""
        if headers.get("x-first-death-reason") != "delivery_limit":
            reason = f"a worker could not read what it was to do: {_SAME_ON_BOTH}"
            self._end(key, asked.task, failed(asked.case.job, reason))
            return
        asked.times_put_aside, asked.is_put_aside = asked.times_put_aside + 1, True
        if asked.times_put_aside > _AGAIN_TIMES:
            self._end(key, "", failed(asked.case.job, _LOST, is_final=True))
        elif asked.has_ended_workers:
            asked.wait_for_a_word()
        else:
            asked.give_back()

    def _judge(self) -> None:
        """Of the cases that seem to end their workers."""
        for key, asked in list(self._errands.by_key.items()):
            if time.monotonic() < asked.judged_at_s:
                continue
            asked.judged_at_s = math.inf
            if asked.has_ended_workers:
                self._end(key, "", failed(asked.case.job, _LOST, is_final=True))
            elif asked.is_put_aside:
                asked.give_back()

    def _pass_on(self, key: str, answer: Answer) -> None:
        asked = self._errands.by_key[key]
        try:
            if answer.protocol != PROTOCOL:
                raise ProtocolError(not_the_same(orthanc=PROTOCOL, worker=answer.protocol))
            messages = read_answer(answer.body)
            if any(one.job != asked.case.job for one in messages):
                raise ProtocolError("an answer about something else")
            for message in messages:
                if isinstance(message, Done):
                    self._end(key, answer.task, message)
                    self._tally.note(answer)
                else:
                    write(self._outgoing, message)
        except ProtocolError as error:
            reason = f"a worker's answer: {error}"
            self._end(key, answer.task, failed(asked.case.job, reason))

    def _end(self, key: str, task: str, done: Done) -> None:
        # It is the worker's own process that ends, not this one.
        write(self._outgoing, replace(done, is_last=False))
        self._errands.end(key, task)

    def _tell(self, state: BrokerState) -> None:
        if state != self._told:
            write(self._outgoing, state)
            self._told = state


def _nacked(*_: object) -> None:
    raise MessageNacked


def _times(headers: Mapping[str, Any]) -> int:
    """How often the broker has brought it before."""
    count = headers.get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0


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
