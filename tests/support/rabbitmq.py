"""A RabbitMQ of the tests' own, on loopback, with its own name, folder and port mapper.

Debian's package brings the programs; the system's own service is neither used nor needed to run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.orthanc_server import ENDS_WITH_US, free_port
from tests.support.patience import patience_s, wait_for

_PROGRAMS = Path("/usr/lib/rabbitmq/lib")
_MAPPER = Path("/usr/bin/epmd")
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class User:
    """Of the virtual host liver, with what it may configure, write and read."""

    name: str
    password: str
    configure: str
    write: str
    read: str


class RabbitMq:
    """One broker; may be killed and started again on what it kept."""

    is_tls = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._mapper_port, self._node_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest@127.0.0.1:{self.port}//"
        self.password = "guest"  # noqa: S105 whom a new RabbitMQ knows
        self._mapper: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "distribution.listener.interface = 127.0.0.1\n"
            "consumer_timeout = 604800000\n"
        )

    def start(self) -> None:
        """Return when it answers."""
        environment = self._environment()
        if self._mapper is None:
            mapper = [*ENDS_WITH_US, str(_MAPPER), "-port", str(self._mapper_port)]
            self._mapper = subprocess.Popen(
                [*mapper, "-address", "127.0.0.1"], env=environment, stderr=subprocess.DEVNULL
            )
        with (self.folder / "log.txt").open("ab") as log:
            self._server = subprocess.Popen(
                [*ENDS_WITH_US, str(_program())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,  # where it leaves what is to be looked at after a crash
                start_new_session=True,
            )
        wait_for("RabbitMQ", self._answers, _START_TIMEOUT_S)

    def kill9(self) -> None:
        """Kill it without any warning, and all that it started."""
        server, self._server = self._server, None
        if server:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            wait_for("RabbitMQ's end", lambda: not self._answers())

    def lose_all(self) -> None:
        """Once killed: what it kept is gone, as with its disk."""
        shutil.rmtree(self.folder / "kept")

    def alarm(self, *, is_on: bool) -> None:
        """Have it say that its memory is short, or that it has enough again."""
        watermark = "0.00001" if is_on else "0.9"
        words = [str(_program().with_name("rabbitmqctl")), "set_vm_memory_high_watermark"]
        environment = {**self._environment(), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ""}
        subprocess.run(
            [*words, watermark],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=patience_s(_START_TIMEOUT_S),
        )

    def close(self) -> None:
        """End it and its port mapper."""
        self.kill9()
        if self._mapper:
            self._mapper.kill()
            self._mapper.wait()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"liver{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "kept"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # Its script becomes the server then, instead of starting it, so that it ends with us.
            "RUNNING_UNDER_SYSTEMD": "true",
            # One scheduler that does not spin: the tests need the cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def _answers(self) -> bool:
        try:
            plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            with plain, _in_tls(plain) if self.is_tls else plain as asked:
                asked.sendall(b"AMQP\0\0\x09\x01")
                return bool(asked.recv(1))
        except OSError:
            return False


class TlsRabbitMq(RabbitMq):
    """One that speaks TLS alone, and knows these users alone."""

    is_tls = True

    def __init__(self, folder: Path, server: tuple[Path, Path], users: Iterable[User]) -> None:
        super().__init__(folder)
        certificate, key = server
        users = list(users)
        definitions = {
            "vhosts": [{"name": "liver"}],
            "users": [
                {
                    "name": one.name,
                    "password_hash": _hash(one.password),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": [],
                }
                for one in users
            ],
            "permissions": [
                {
                    "user": one.name,
                    "vhost": "liver",
                    "configure": one.configure,
                    "write": one.write,
                    "read": one.read,
                }
                for one in users
            ],
        }
        (folder / "definitions.json").write_text(json.dumps(definitions))
        (folder / "rabbitmq.conf").write_text(
            "listeners.tcp = none\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.port}\n"
            f"ssl_options.certfile = {certificate}\n"
            f"ssl_options.keyfile = {key}\n"
            "distribution.listener.interface = 127.0.0.1\n"
            f"load_definitions = {folder / 'definitions.json'}\n"
        )

    def url_of(self, user: str) -> str:
        """Where a user finds it."""
        return f"amqps://{user}@localhost:{self.port}/liver"


def _in_tls(plain: socket.socket) -> ssl.SSLSocket:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    return anybody.wrap_socket(plain)


def _hash(password: str) -> str:
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def rabbitmq_is_installed() -> bool:
    """Whether Debian's package is there."""
    return any(_PROGRAMS.glob("rabbitmq_server-*/sbin/rabbitmq-server")) and _MAPPER.exists()


def _program() -> Path:
    return max(_PROGRAMS.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
