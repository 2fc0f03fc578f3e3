"""orthanc-liver worker: computes for Orthancs on other machines, which a broker tells of."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from orthanc_liver.cli.parser import add_device, add_weights, new_command

_FROM_VARIABLE = "ORTHANC_LIVER_BROKER_PASSWORD"


def add_to(commands: Any) -> None:
    """Add worker to the parser's commands."""
    worker = new_command(
        commands,
        "worker",
        "compute for the Orthancs whose setting Broker names the same broker; see docs/SCALE.md",
        "--broker amqps://worker@broker.example:5671/liver --orthancs /etc/orthanc-liver.json",
    )
    worker.add_argument(
        "--broker",
        required=True,
        metavar="URL",
        help=f"RabbitMQ, without the password, which is taken from {_FROM_VARIABLE}",
    )
    worker.add_argument(
        "--broker-ca",
        default="",
        metavar="FILE",
        help="certificates of who signed the broker's; default: the system's authorities",
    )
    worker.add_argument(
        "--orthancs",
        type=Path,
        required=True,
        metavar="FILE",
        help='{"name": {"Url": ..., "Username": ..., "Password": ..., "CaFile": ..., "DicomWeb": '
        "...}}: from where images are fetched; all but Url is optional",
    )
    worker.add_argument(
        "--name",
        default="",
        help="this worker's name, unlike the others of this machine; default: the process's number",
    )
    worker.add_argument(
        "--threads", type=int, default=0, help="CPU threads of the network; 0: as many as cores"
    )
    add_device(worker)
    add_weights(worker)
    worker.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from orthanc_liver.cluster.broker import Access, BrokerRefused
    from orthanc_liver.cluster.model import model_of
    from orthanc_liver.cluster.orthancs import read_orthancs
    from orthanc_liver.cluster.work import Means
    from orthanc_liver.cluster.worker import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    weights = options.weights and options.weights.resolve()
    command = [
        *(sys.executable, "-m", "orthanc_liver.engine.inference_process"),
        *("--device", options.device),
        *("--threads", str(options.threads)),
        *(("--weights", str(weights)) if weights else ()),
    ]
    access = Access(options.broker, os.environ.get(_FROM_VARIABLE, ""), options.broker_ca)
    if not access.password:
        raise BrokerRefused(f"the broker's password is empty: set {_FROM_VARIABLE}")
    means = Means(read_orthancs(options.orthancs), command, model_of(weights).sha256)
    return serve(access, means, options.name)
