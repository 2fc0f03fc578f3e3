"""A RabbitMQ of the tests' own, on loopback, with its own name, folder and port mapper.

Debian's package brings the programs; the system's own service is neither used nor needed to run.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.orthanc_server import ENDS_WITH_US, free_port
from tests.support.patience import wait_for

_PROGRAMS = Path("/usr/lib/rabbitmq/lib")
_MAPPER = Path("/usr/bin/epmd")
_START_TIMEOUT_S = 60.0


class RabbitMq:
    """One broker; may be killed and started again on what it kept."""

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
            # One scheduler that does not spin: the tests need the cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as asked:
                asked.sendall(b"AMQP\0\0\x09\x01")
                return bool(asked.recv(1))
        except OSError:
            return False


def rabbitmq_is_installed() -> bool:
    """Whether Debian's package is there."""
    return any(_PROGRAMS.glob("rabbitmq_server-*/sbin/rabbitmq-server")) and _MAPPER.exists()


def _program() -> Path:
    return max(_PROGRAMS.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
