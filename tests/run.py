"""make run: an Orthanc with the plugin, left running for use by hand until Ctrl-C."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.orthanc_server import OrthancServer

_HTTP_PORT, _DICOM_PORT = 8042, 4242
FOLDER = Path("run")


def main() -> None:
    """Take Orthanc's usual ports where they are free, any others where they are not."""
    server = OrthancServer(
        FOLDER, {}, http_port=_if_free(_HTTP_PORT), dicom_port=_if_free(_DICOM_PORT)
    )
    with server:
        print(f"Orthanc Explorer: {server.url}/app/explorer.html")
        print(f"C-STORE to:       ORTHANC at 127.0.0.1:{server.dicom_port}")
        print(f"State of things:  {server.url}/liver/status")
        print(f"Storage and log:  {FOLDER}/ (kept). Ctrl-C stops Orthanc.", flush=True)
        try:
            assert server.process is not None
            server.process.wait()
        except KeyboardInterrupt:
            print("stopping")


def _if_free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


if __name__ == "__main__":
    main()
