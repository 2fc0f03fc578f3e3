"""Orthanc itself, as far as it is used here."""
