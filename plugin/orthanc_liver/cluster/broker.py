"""The broker's queues, and how all of us speak to it.

liver.cases.<version>.<model>.<rank>  cases that wait; a quorum queue, for its delivery limit
liver.answers.<orthanc>               what workers say to one Orthanc, and its dead letters
liver.dead                            the last dead letters of all, for a person to look at
liver.workers.<version>.<model>       nothing; its readers are the workers that there are

The version is that of the workers' protocol, and a model is named by the beginning of its SHA-256:
workers of two versions or of two models never share a queue.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import amqp
from amqp.exceptions import (
    AccessRefused,
    MessageNacked,
    NotAllowed,
    NotFound,
    PreconditionFailed,
)
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError

from orthanc_liver.engine.cluster_case import PROTOCOL
from orthanc_liver.engine.protocol import Rank
from orthanc_liver.liver_errors import LiverError

_log = logging.getLogger(__name__)

TASK = "liver.segment"
# The command of Celery's that has idle workers look for a case at once.
LOOK = "liver_look"
# How often a case is handed out again after the worker that had it was lost, or its connection;
# which of them it was, dispatcher.py judges.
DELIVERY_LIMIT = 2
# What may go wrong between us and the broker, after which one connects anew.
BROKER_ERRORS = (OSError, amqp.exceptions.AMQPError, MessageNacked, KombuError)

# What only a person can mend.
NEVER_SERVES = (ssl.SSLCertVerificationError, AccessRefused, NotAllowed, PreconditionFailed)

_HEARTBEAT_S = 10
# For two heartbeats a network may pause; the library's own second hands running cases out again.
_PAUSE_S = 2 * _HEARTBEAT_S
_CONNECT_WITHIN_S = 5.0
_DEAD_KEPT = 1000
_QUORUM = {"x-queue-type": "quorum"}
_DEAD = Exchange("liver.dead", type="headers", durable=True)
_DIRECTLY = Exchange("")


class BrokerRefused(LiverError):
    """A broker that we cannot use, or not so; str(error) says what to do."""


@dataclass(frozen=True)
class Access:
    """Where the broker is and who asks; url: amqp[s]://user@host[:port]/vhost."""

    url: str
    password: str = field(repr=False)
    ca_file: str = ""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            raise BrokerRefused("the broker's address has no port that there is") from None
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname or not parts.username:
            raise BrokerRefused("the broker's address must be amqps://user@host/vhost")
        if parts.password is not None:
            raise BrokerRefused("the broker's address must not hold the password, which others see")

    @property
    def place(self) -> str:
        """Host and port, which may be told."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def whole_url(self) -> str:
        """With the password: never to be told."""
        return self.url.replace("@", f":{quote(self.password, safe='')}@", 1)

    @property
    def tls(self) -> dict[str, object] | None:
        """How the broker's certificate is checked."""
        parts = urlsplit(self.url)
        if parts.scheme == "amqp":
            return None
        known = {"ca_certs": self.ca_file} if self.ca_file else {}
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname, **known}


def new_app(access: Access) -> Celery:
    """A Celery that keeps no results of its own."""
    app = Celery("orthanc-liver", set_as_current=False)
    app.conf.update(
        broker_url=access.whole_url,
        broker_use_ssl=access.tls,
        broker_heartbeat=_HEARTBEAT_S,
        broker_transport_options={"socket_settings": {socket.TCP_USER_TIMEOUT: _PAUSE_S * 1000}},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=False,
        worker_prefetch_multiplier=1,
    )
    return app


@contextlib.contextmanager
def connected(app: Celery, **options: Any) -> Iterator[Any]:
    """A connection on which nothing waits longer than a network may pause; who has it sees to its
    heartbeats. It is closed without a word: a broker that takes nothing would not answer that.
    """
    connection = app.connection_for_write(
        connect_timeout=_CONNECT_WITHIN_S,
        heartbeat=_HEARTBEAT_S,
        transport_options={"read_timeout": _PAUSE_S, "write_timeout": _PAUSE_S, **options},
    )
    try:
        connection.connect()
        yield connection
    finally:
        connection.collect()


def refuse_what_never_serves(access: Access, model_sha256: str) -> None:
    """BrokerRefused where waiting would not help; a broker that is away is waited for."""
    if problem := _ca_problem(access):
        raise BrokerRefused(problem)
    try:
        with connected(new_app(access)) as connection:
            channel = connection.default_channel
            declare_cases(channel, model_sha256)
            worker_queue(model_sha256)(channel).queue_declare()
    except NEVER_SERVES as error:
        raise BrokerRefused(not_serving(access, error)) from None
    except BROKER_ERRORS as error:
        _log.warning("%s", not_serving(access, error))


def not_serving(access: Access, error: Exception) -> str:
    """What is wrong between us and the broker, without the password."""
    if problem := _ca_problem(access):
        return problem
    if isinstance(error, BrokerRefused):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        told = f"its certificate is not trusted ({error.verify_message}); CaFile, of a worker "
        return f"the broker at {access.place}: {told}--broker-ca, names who signed it"
    said = str(getattr(error, "reply_text", "") or getattr(error, "strerror", "") or "")
    if isinstance(error, PreconditionFailed) and "inequivalent" in said:
        told = "a queue that another version or a person made otherwise: delete it there"
        return f"the broker at {access.place} has {told} ({said})"
    about = f"{type(error).__name__} {said}".strip()
    hint = ""
    if access.tls is None and (isinstance(error, ConnectionResetError) or "closed" in str(error)):
        hint = "; if it speaks TLS there, its address begins with amqps://"
    return f"the broker at {access.place} does not serve: {about}{hint}"


def _ca_problem(access: Access) -> str:
    """Why nobody can be believed by the file of who signed; empty where it is as it should be."""
    if access.tls is None or not access.ca_file:
        return ""
    try:
        ssl.create_default_context(cafile=access.ca_file)
    except ssl.SSLError:
        why = "holds no certificate in PEM"
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    else:
        return ""
    told = "CaFile, of a worker --broker-ca, names who signed the broker's certificate"
    return f"{access.ca_file} {why}: {told}"


def name_taken(access: Access, orthanc: str) -> BrokerRefused:
    """Somebody else hears what is for this Orthanc."""
    return BrokerRefused(
        f"another Orthanc is connected to the broker at {access.place} by the name {orthanc}: "
        "Broker.Orthanc must differ in each"
    )


def refusing(access: Access) -> str:
    """What is wrong where the broker says that it takes nothing for now."""
    return (
        f"the broker at {access.place} refuses messages: it is short of memory or disk "
        "(rabbitmqctl status shows its alarm)"
    )


def case_queue(model_sha256: str, rank: Rank) -> Queue:
    """Where the cases of a model wait."""
    dead = {"x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": _DEAD.name}
    return _queue(f"liver.cases.{_kind(model_sha256)}.{rank}", dead)


def answer_queue(orthanc: str) -> Queue:
    """Where an Orthanc hears of its cases."""
    return _queue(f"liver.answers.{orthanc}", {})


def worker_queue(model_sha256: str) -> Queue:
    """This takes nothing from anybody: who reads it is a worker, and can be counted."""
    nothing = {"x-max-length": 0, "x-overflow": "reject-publish"}
    name = f"liver.workers.{_kind(model_sha256)}"
    return Queue(name, _DIRECTLY, durable=True, queue_arguments=nothing)


def _kind(model_sha256: str) -> str:
    return f"{PROTOCOL}.{model_sha256[:16]}"


def declare_cases(channel: Any, model_sha256: str) -> list[Queue]:
    """Make what workers of a model take cases from, the first first."""
    _DEAD(channel).declare()
    kept = _queue("liver.dead", {"x-max-length": _DEAD_KEPT})(channel)
    kept.declare()
    kept.bind_to(_DEAD, arguments={"x-match": "all"})
    queues = [case_queue(model_sha256, rank)(channel) for rank in Rank]
    for queue in queues:
        queue.declare()
    return queues


def declare_answers(channel: Any, orthanc: str) -> Queue:
    """Make what an Orthanc hears from; its dead letters come there as well."""
    _DEAD(channel).declare()
    queue = answer_queue(orthanc)(channel)
    queue.declare()
    queue.bind_to(_DEAD, arguments={"x-match": "all", "orthanc": orthanc})
    return queue


def is_as_left(connection: Any, model_sha256: str, orthanc: str) -> bool:
    """Whether all the queues are there that an Orthanc's messages lie in; not in a new broker."""
    channel = connection.channel()
    try:
        for queue in (*(case_queue(model_sha256, rank) for rank in Rank), answer_queue(orthanc)):
            queue(channel).queue_declare(passive=True)
    except NotFound:  # which closes the channel
        return False
    channel.close()
    return True


def _queue(name: str, arguments: dict[str, object]) -> Queue:
    return Queue(name, _DIRECTLY, name, durable=True, queue_arguments={**_QUORUM, **arguments})
