"""What runs in Orthanc's own interpreter: the standard library only."""
