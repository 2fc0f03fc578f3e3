"""Every error that ends a job.

LiverError
  SeriesRefused       the input cannot be trusted; no retry will change that
  ContoursDisagree    our own contours do not give the mask back: a fault of ours
"""

from __future__ import annotations


class LiverError(Exception):
    """str(error) is one sentence: what is wrong, where, what to do. No patient data."""


class SeriesRefused(LiverError):
    """The series is not one that we may outline."""


class ContoursDisagree(LiverError):
    """The traced contours, rasterised by other code, are not the mask."""
