"""The Y-90 activity from a liver's volume: standard library only, so that Orthanc's Python has it.

For review by a physician; not a medical device.
"""
