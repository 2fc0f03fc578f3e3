"""The processes that Orthanc's worker thread starts, and their language."""
