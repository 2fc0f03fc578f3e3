"""Outlines the liver on CT inside Orthanc."""

__version__ = "0.1.0"
# Whoever edits contours puts its own name in this one's place.
SOFTWARE = "orthanc-liver"
# Everything that is made here says so.
NOTE = "For review by a physician; not a medical device."
