"""Whose certificates are believed where we ask a server ourselves: those that Orthanc believes."""

from __future__ import annotations

import ssl


def trusting(ca_file: str) -> ssl.SSLContext:
    """What checks a server by the authorities of a file, or by the system's where none is named."""
    context = ssl.create_default_context(cafile=ca_file or None)
    # From 3.13 on Python also asks for extensions that the authority of a hospital may lack, and
    # that neither Orthanc's own client nor an older Python misses.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
