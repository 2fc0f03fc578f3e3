"""Our contours against reference contours on anybody's cases.

For review by a physician; not a medical device.
"""
