"""python -m tests.support.cluster_worker: the worker around another inference process.

What a worker is told on its command line, apart from the program, comes in words of its own here:
the broker, the file of Orthancs, the inference program, its model's SHA-256, the worker's name,
which version of the workers' protocol it speaks, and who signed for the broker. It rests for a
second after what only a person can mend.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from orthanc_liver.cluster import answers, broker, work, worker
from orthanc_liver.cluster.broker import Access
from orthanc_liver.cluster.orthancs import read_orthancs
from orthanc_liver.cluster.work import Means
from orthanc_liver.engine import cluster_case


def main() -> int:
    """Serve until stopped."""
    url, orthancs, program, sha256, name, protocol, ca_file = sys.argv[1:]
    work._UNABLE_RESTS_S = 1.0
    for module in (cluster_case, answers, broker, worker):
        module.PROTOCOL = int(protocol)  # type: ignore[attr-defined]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    access = Access(url, os.environ["ORTHANC_LIVER_BROKER_PASSWORD"], ca_file)
    means = Means(read_orthancs(Path(orthancs)), [program], sha256)
    return worker.serve(access, means, name)


if __name__ == "__main__":
    sys.exit(main())
