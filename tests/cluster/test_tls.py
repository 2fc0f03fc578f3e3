"""TLS to the broker and to Orthanc, and users who may do no more than docs/SCALE.md says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster, ClusterHost, check_each_stored_once
from tests.plugin.host.conftest import Host
from tests.support.certificates import Authority
from tests.support.nginx import documented_server, nginx
from tests.support.orthanc_server import CHECKOUT, OrthancServer, free_port
from tests.support.patience import wait_for
from tests.support.rabbitmq import TlsRabbitMq, User, rabbitmq_is_installed

PASSWORD = "p@ss-of:broker"  # noqa: S105 of a broker on loopback
ORTHANCS_USER = {"Username": "worker", "Password": "pass-of-orthanc"}


def users_of_the_paper() -> list[User]:
    """As whoever sets the broker up by docs/SCALE.md makes them."""
    paper = (CHECKOUT / "docs" / "SCALE.md").read_text().replace("\\\n", " ")
    said = re.findall(r"rabbitmqctl set_permissions -p liver (.*)", paper)
    words = [shlex.split(one) for one in said]
    assert [one[0] for one in words] == ["north", "worker"]
    return [User(name, PASSWORD, *rights) for name, *rights in words]


class LockedHost(ClusterHost):
    """An Orthanc with a password."""

    def _server(self, folder: Path, ours: dict[str, Any]) -> OrthancServer:
        overrides = {
            "StableAge": 1,
            "LiverSegmentation": ours,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {ORTHANCS_USER["Username"]: ORTHANCS_USER["Password"]},
        }
        server = OrthancServer(folder, overrides, http_port=free_port())
        server._session.auth = (ORTHANCS_USER["Username"], ORTHANCS_USER["Password"])
        return server


class TlsCluster(Cluster):
    """A cluster whose every way is TLS."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self.authority = authority
        server = authority.server("DNS:localhost,IP:127.0.0.1")
        self.broker = TlsRabbitMq(folder / "tls broker", server, users_of_the_paper())
        self.broker.url, self.broker.password = self.broker.url_of("worker"), PASSWORD
        self.broker_ca = str(authority.ca_file)

    def start_locked_host(self, name: str, ca_file: str, **ours: Any) -> Host:
        """ca_file: whom it believes the broker by."""
        assert isinstance(self.broker, TlsRabbitMq)
        url = self.broker.url_of("north")
        broker = {"Url": url, "Password": PASSWORD, "Orthanc": "north", "CaFile": ca_file}
        ours = {"Interpreter": sys.executable, "Broker": broker, "JobsAtOnce": 3, **ours}
        host = self.hosts[name] = LockedHost(self.folder / name, **ours)
        host.orthanc.start()
        return host

    @contextmanager
    def behind_nginx(self, host: Host, **further: str) -> Iterator[None]:
        """Workers that start meanwhile know the Orthanc by TLS, through the paper's nginx: Debian
        12's Orthanc ends by itself at the first request by TLS."""
        port = free_port()
        certificate, key = self.authority.server("DNS:localhost")
        folder = self.folder / f"nginx-{port}"
        folder.mkdir()
        told = {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/certs/orthanc.pem": str(certificate),
            "/etc/ssl/private/orthanc.key": str(key),
            "http://127.0.0.1:8042/": f"{host.orthanc.url}/",
        }
        address = {"Url": f"https://localhost:{port}/orthanc", **ORTHANCS_USER, **further}
        self.orthancs_file.write_text(json.dumps({"north": address}))
        with nginx(folder, documented_server("INSTALL.md", told)):
            yield


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "believed")


@pytest.fixture(scope="module")
def tls_cluster(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[TlsCluster]:
    if not rabbitmq_is_installed():
        pytest.skip("needs Debian's package rabbitmq-server")
    one = TlsCluster(tmp_path_factory.mktemp("cluster"), authority)
    try:
        one.broker.start()
        yield one
        for secret in (PASSWORD, ORTHANCS_USER["Password"], "Secret^Patient"):
            assert secret not in one.said()
    finally:
        one.close()


@pytest.fixture
def cluster(tls_cluster: TlsCluster) -> Iterator[TlsCluster]:
    try:
        yield tls_cluster
    finally:
        tls_cluster.end_all_but_the_broker()
        tls_cluster.hosts.clear()
        tls_cluster.behave()


def worker_command(url: str, folder: Path, *further: str, password: str = PASSWORD) -> list[str]:
    """What the command line says of a broker that it will not work for, and its status."""
    file = folder / "orthancs.json"
    file.write_text(json.dumps({"north": {"Url": "https://localhost"}}))
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "orthanc_liver.cli.main", "worker"),
            *("--broker", url, "--orthancs", str(file), *further),
        ],
        env={**os.environ, "ORTHANC_LIVER_BROKER_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert password not in ran.stderr
    said = [line for line in ran.stderr.splitlines() if "runs as root" not in line]
    return [str(ran.returncode), *said]


def test_a_worker_says_in_a_sentence_why_it_does_not_work_for_a_broker(
    cluster: TlsCluster, tmp_path: Path
) -> None:
    ours = ("--broker-ca", cluster.broker_ca)
    other = Authority(tmp_path / "other")
    for further in ((), ("--broker-ca", str(other.ca_file))):
        status, said = worker_command(cluster.broker.url, tmp_path, *further)
        assert (status, said.count("certificate is not trusted")) == ("3", 1)
        assert "--broker-ca" in said
    status, said = worker_command(cluster.broker.url, tmp_path, *ours, password="wr0ng")  # noqa: S106
    assert (status, "ACCESS_REFUSED" in said) == ("3", True)
    status, said = worker_command(cluster.broker.url.replace("/liver", "/other"), tmp_path, *ours)
    assert (status, "vhost other not found" in said) == ("3", True)


def test_cases_cross_by_tls_with_no_more_rights_than_the_paper_gives(cluster: TlsCluster) -> None:
    host = cluster.start_locked_host("tls", cluster.broker_ca)
    with cluster.behind_nginx(host, CaFile=cluster.broker_ca):
        worker = cluster.start_worker("one")
        check_each_stored_once(host, [host.upload(f"by tls {n}") for n in range(2)])
        before = len(cluster.engine.jobs())
        cluster.behave("hang", times=1)
        series = host.upload("cancelled by tls")
        pid = cluster.at_work(before)
        [job] = host.jobs_of(series)
        host.orthanc.post(f"/liver/jobs/{job['ID']}/cancel")
        wait_for("its end", lambda: pid not in cluster.engine.alive(), timeout_s=2)
    assert "ACCESS_REFUSED" not in worker.log() + host.orthanc.log()
    [broker_log] = (cluster.broker.folder / "log").glob("liver*[0-9]@localhost.log")
    assert "caused a channel exception access_refused" not in broker_log.read_text()


def test_an_orthanc_whose_certificate_nobody_signed_that_we_know_is_not_asked(
    cluster: TlsCluster,
) -> None:
    host = cluster.start_locked_host("unknown", cluster.broker_ca, Retries=0)
    with cluster.behind_nginx(host):
        cluster.start_worker("one")
        job = host.ended_job_of(host.upload("from an unknown Orthanc"))
    assert job["State"] == "Failure"
    assert "from Orthanc north: its certificate is not trusted" in job["ErrorDescription"]


def test_an_orthanc_that_does_not_believe_the_broker_says_so(
    cluster: TlsCluster, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    host = cluster.start_locked_host("unbelieving", str(other.ca_file))
    said = wait_for("its problem", lambda: _problem(host, "certificate"))
    assert "its certificate is not trusted" in said
    assert "CaFile" in said


def _problem(host: Host, word: str) -> str:
    problem = str(host.orthanc.get("/liver/status")["EngineProblem"])
    return problem if word in problem else ""
