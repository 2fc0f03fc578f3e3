"""Timings side by side, as medians and ratios: `make bench`."""
