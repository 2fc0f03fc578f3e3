"""Outlines the liver on CT inside Orthanc. For review by a physician; not a medical device."""

__version__ = "0.1.0"
