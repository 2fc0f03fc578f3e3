"""The Y-90 activity of a series in Orthanc."""
