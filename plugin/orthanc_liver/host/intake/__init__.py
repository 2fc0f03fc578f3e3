"""Which series become jobs."""
