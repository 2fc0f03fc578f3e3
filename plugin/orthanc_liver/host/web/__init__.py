"""REST routes, page and metrics."""
